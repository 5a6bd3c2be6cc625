#!/usr/bin/env bash
# Table 1 of DASBE. scripts/dasbe/table1.sh --profile quick|full [--datasets ...] [--methods ...]
# [--seeds ...] [--images N]; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m dasbe.figures.table1 "$@"
