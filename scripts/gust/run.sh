#!/usr/bin/env bash
# Makes the data sets of GUST, then trains on images of 3, 2 and 4 objects, one after the other.
# Flags go to python -m gust.train (--help tells which). The networks go to runs/gust; what is
# finished there is left alone, --overwrite trains it again; an interrupted training goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
case " $* " in *" --help "* | *" -h "*) exec "$PYTHON" -m gust.train --help ;; esac
"$PYTHON" -m datasets.generate shapes_multiobj_{3_3,2_3,4_3,3_2,3_4}
for objects in 3 2 4; do
    "$PYTHON" -m gust.train "$@" --train_objects "$objects"
done
