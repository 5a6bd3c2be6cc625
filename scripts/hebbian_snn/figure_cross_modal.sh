#!/usr/bin/env bash
# Images drawn for spoken digits, and the activity of one network in one trial.
# --profile quick|full; --help tells more. Flags are those of python -m hebbian_snn.figures.cross_modal.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
"$PYTHON" -m hebbian_snn.figures.cross_modal "$@"
case " $* " in *" --help "* | *" -h "*) exit ;; esac
data=()
case " $* " in *" --data embedded "* | *" --data=embedded "*) data=(--data embedded) ;; esac
exec "$PYTHON" -m hebbian_snn.plot_cross_modal_associations_task ${data[@]+"${data[@]}"}
