#!/usr/bin/env bash
# Images drawn for spoken digits, and the activity of one network in one trial.
# --profile quick|full; --help tells more. Flags are those of python -m hebbian_snn.figures.cross_modal.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
"$PYTHON" -m hebbian_snn.figures.cross_modal "$@"
source "$(dirname "${BASH_SOURCE[0]}")/activity.sh" plot_cross_modal_associations_task "$@"
