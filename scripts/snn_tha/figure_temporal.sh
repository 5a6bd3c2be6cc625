#!/usr/bin/env bash
# The spike-timing task: four conditions, figure and films. --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m snn_tha.figures.temporal "$@"
