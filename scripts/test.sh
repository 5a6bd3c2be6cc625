#!/usr/bin/env bash
# Sets up everything, then runs lint and tests. Arguments go to pytest, e.g.
#   scripts/test.sh tests/dasbe -k kmeans        scripts/test.sh -m "not slow"
# Without arguments one process for each core shares them (at most 8), and the GPU kernels are tested
# as well: on a GPU, or else in Triton's interpreter.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$SNN_ROOT"

has_triton() { "$PYTHON" -c 'import triton' 2>/dev/null; }

# Only into the environment that setup.sh made, and only where it runs.
if [[ "$PYTHON" == "$SNN_ROOT/.venv/bin/python" && "$(uname -sm)" == "Linux x86_64" ]] && ! has_triton
then
    echo "installing Triton, whose interpreter tests the GPU kernels (once)" >&2
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-deps \
        --requirement requirements-triton.txt ||
        echo "Triton could not be installed; its tests are skipped" >&2
fi

"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
if [[ $# != 0 ]]; then
    exec "$PYTHON" -m pytest "$@"
fi
export OMP_NUM_THREADS=1
in_parallel=(--numprocesses auto --maxprocesses 8)
"$PYTHON" -m pytest "${in_parallel[@]}" --dist loadgroup --durations=25
if has_triton && "$PYTHON" -c 'import sys, torch; sys.exit(torch.cuda.is_available())'
then
    TRITON_INTERPRET=1 "$PYTHON" -m pytest "${in_parallel[@]}" --dist load --durations=3 \
        tests/gust/test_gust_gpu.py tests/snn_tha/test_snn_tha_gpu.py
fi
