#!/usr/bin/env bash
# Accuracy against the number of pairs, and the activity of one network in one trial.
# --profile quick|full; --help tells more. Flags are those of python -m hebbian_snn.figures.associations.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
"$PYTHON" -m hebbian_snn.figures.associations "$@"
source "$(dirname "${BASH_SOURCE[0]}")/activity.sh" plot_memorizing_associations_task "$@"
