#!/usr/bin/env bash
# Trains the networks of the table: scripts/snn_tha/train.sh DATASET [flags]
# DATASET is mnist, fmnist, shd or dvs. Flags go to python -m snn_tha.run (--help tells which), for
# example --trials 5 --epochs 11. The networks go to runs/snn_tha; what is finished there is left
# alone; an interrupted training goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
if (($# == 0)) || [[ " $* " == *" --help "* ]]; then
    exec "$PYTHON" -m snn_tha.run --help
fi
dataset="$1"
shift
"$PYTHON" -m snn_tha.run --dataset "$dataset" "$@"
"$PYTHON" -m snn_tha.run --dataset "$dataset" "$@" --annealing false
"$PYTHON" -m snn_tha.run --dataset "$dataset" "$@" --annealing false --fixed final
"$PYTHON" -m snn_tha.run --dataset "$dataset" "$@" --binarize false
