#!/usr/bin/env bash
# Figure 2 of DASBE. scripts/dasbe/figure2.sh --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m dasbe.figures.figure2 "$@"
