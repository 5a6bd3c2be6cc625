#!/usr/bin/env bash
# The binding of one image as an animation. --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m gust.figures.animation "$@"
