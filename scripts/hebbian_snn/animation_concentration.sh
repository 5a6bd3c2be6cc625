#!/usr/bin/env bash
# One game of Concentration with the policy's memory beside it. --network NAME; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m hebbian_snn.figures.concentration_game "$@"
