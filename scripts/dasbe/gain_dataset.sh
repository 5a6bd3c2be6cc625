#!/usr/bin/env bash
# Makes the datasets of DASBE in datasets/files/ (see --help for --count, --data, --out, --verify).
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m datasets.generate bars corners shapes shapes_with_pos mnist_shape multi_mnist \
    moving_shapes moving_shapes_3 "$@"
