#!/usr/bin/env bash
# Loss and scores during training. --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m gust.figures.training "$@"
