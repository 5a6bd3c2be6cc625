#!/usr/bin/env bash
# bAbI: error per task with readout delays of 30 and 1 steps.
#   scripts/hebbian_snn/table_babi.sh --train [--tasks 1 4 5] [--delays 30] [--jobs 2]
# trains what is missing into runs/ (interrupt and repeat at will) and makes the table; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m hebbian_snn.figures.babi "$@"
