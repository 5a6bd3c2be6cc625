#!/usr/bin/env bash
# Figure 5 of DASBE. scripts/dasbe/figure5.sh --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m dasbe.figures.figure5 "$@"
