#!/usr/bin/env bash
# Sets up everything, then runs lint and tests. Arguments go to pytest, e.g.
#   scripts/test.sh tests/dasbe -k kmeans        scripts/test.sh -m "not slow"
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$SNN_ROOT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
exec "$PYTHON" -m pytest "$@"
