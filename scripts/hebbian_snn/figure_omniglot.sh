#!/usr/bin/env bash
# Accuracy of one-shot learning on Omniglot, and the activity of one network in one trial.
# --profile quick|full; --help tells more. Flags are those of python -m hebbian_snn.figures.omniglot.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
"$PYTHON" -m hebbian_snn.figures.omniglot "$@"
source "$(dirname "${BASH_SOURCE[0]}")/activity.sh" plot_omniglot_one_shot_task "$@"
