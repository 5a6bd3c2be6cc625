#!/usr/bin/env bash
# Networks trained on 2, 3, 4 objects, tested on 2, 3, 4. --profile quick|full; --help tells more.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m gust.evaluation "$@"
