#!/usr/bin/env bash
# Deletes what the commands of GUST have made: scripts/gust/clean.sh [--yes] [--checkpoints]
#   without asking: its generated data sets, which the next command makes again in seconds
#   after asking:   its results (results/gust_*) and the states of its unfinished trainings
#   --checkpoints   also the networks trained here (runs/gust), after asking
#   --yes           answers every question with yes
set -euo pipefail
shopt -s nullglob
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
yes=false checkpoints=false
for argument in "$@"; do
    case "$argument" in
    --yes) yes=true ;;
    --checkpoints) checkpoints=true ;;
    --help | -h)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit
        ;;
    *)
        echo "error: unknown flag $argument; there are --yes, --checkpoints and --help" >&2
        exit 1
        ;;
    esac
done

agreed() { # question
    local answer=""
    if [[ $yes == true ]]; then return 0; fi
    read -r -p "$1 [y/N] " answer || true
    [[ "$answer" == [yY] || "$answer" == [yY][eE][sS] ]]
}

delete() { # "ask" or "at once", what it is, files...
    local when="$1" what="$2"
    shift 2
    if (($# == 0)); then return; fi
    echo "$what:"
    printf '  %s\n' "${@#"$root"/}"
    if [[ "$when" == "at once" ]] || agreed "delete them?"; then
        rm -r -- "$@"
        echo "  deleted"
    else
        echo "  kept"
    fi
}

delete "at once" "generated data sets" "$root"/datasets/files/shapes_multiobj_*.h5
delete ask "results" "$root"/results/gust_* "$root"/results/result.np[y]
delete ask "unfinished trainings" "$root"/runs/gust/*/state.pt
if [[ $checkpoints == true ]]; then
    delete ask "networks trained here" "$root"/runs/gust/*/network.safetensors
fi
