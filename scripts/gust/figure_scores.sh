#!/usr/bin/env bash
# AMI and SynScore against iteration. --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m gust.figures.scores "$@"
