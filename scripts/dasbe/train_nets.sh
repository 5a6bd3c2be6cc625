#!/usr/bin/env bash
# Trains the five networks of Table 1 (about half an hour on 2 cores). Networks
# that are there are left alone; --overwrite trains them again; an interrupted training goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
for dataset in bars corners shapes mnist_shape multi_mnist; do
    "$PYTHON" -m dasbe.train --dataset "$dataset" "$@"
done
