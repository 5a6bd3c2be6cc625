#!/usr/bin/env bash
# Binds one image and saves the picture: scripts/dasbe/dasbe_example.sh [IMAGE.png | INDEX] ...
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
exec "$PYTHON" -m dasbe.example "$@"
