#!/usr/bin/env bash
# Four data sets, each learnt in four ways. --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m snn_tha.figures.table1 "$@"
