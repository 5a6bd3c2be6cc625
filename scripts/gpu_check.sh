#!/usr/bin/env bash
# What a GPU shows in some minutes, without a network: tests, training steps against the CPU,
# kernels, the field's layer, NCCL. Writes docs/results/gpu.json and docs/gpu.md.
# --pretend tries it without a GPU, at small sizes. See benchmarks/gpu_check.py.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$SNN_ROOT"
exec "$PYTHON" -m benchmarks.gpu_check "$@"
