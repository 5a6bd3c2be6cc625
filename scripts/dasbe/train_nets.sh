#!/usr/bin/env bash
# Trains all networks: the five of Table 1 (about half an hour on 2 cores), then those of Figures 2
# to 5 (another hour). They go to runs/dasbe; what is finished there is left alone, --overwrite
# trains it again; an interrupted training goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
for dataset in bars corners shapes mnist_shape multi_mnist \
    shapes_interference mnist_shape_conv shapes_contrastive moving_shapes; do
    "$PYTHON" -m dasbe.train --dataset "$dataset" "$@"
done
