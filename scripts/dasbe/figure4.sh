#!/usr/bin/env bash
# Figure 4 of DASBE. scripts/dasbe/figure4.sh --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m dasbe.figures.figure4 "$@"
