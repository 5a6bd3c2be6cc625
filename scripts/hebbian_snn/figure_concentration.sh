#!/usr/bin/env bash
# Concentration: learning curves, and flips against perfect memory, no plasticity and chance.
# --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m hebbian_snn.figures.concentration "$@"
