#!/usr/bin/env bash
# Sets up everything and reproduces every table and figure there is:
#   scripts/reproduce.sh [--profile quick|full] [--only dasbe,...] [--data auto|real|embedded]
# quick (default) takes minutes on 2 cores, full is the papers' protocol. Results go to results/.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec "$PYTHON" -m common.reproduce "$@"
