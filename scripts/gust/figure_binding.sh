#!/usr/bin/env bash
# One image comes to be bound: spikes, rasters, colourings. --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m gust.figures.binding "$@"
