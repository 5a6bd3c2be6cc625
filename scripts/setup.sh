# Sourced by every other script: finds or makes the Python environment and exports PYTHON and
# SNN_ROOT.
#
# With PYTHON set, that interpreter is used as it is: nothing is installed into it. Otherwise
# .venv/ at the repository's root is made (Python 3.11 or 3.12) and filled from requirements.txt;
# later calls see that nothing changed and go straight on.

SNN_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export SNN_ROOT
# The packages are found here even in an environment they were not installed into.
export PYTHONPATH="$SNN_ROOT${PYTHONPATH:+:$PYTHONPATH}"

_snn_fail() {
    echo "error: $*" >&2
    exit 1
}

_snn_base_python() {
    local candidate
    for candidate in python3.12 python3.11 python3 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' \
                >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    _snn_fail "Python 3.11 or 3.12 is needed and was not found; install one, or set PYTHON to it"
}

_snn_make_environment() {
    local venv="$SNN_ROOT/.venv" stamp wanted base
    stamp="$venv/installed-from"
    wanted="$(cat "$SNN_ROOT/requirements.txt" "$SNN_ROOT/pyproject.toml" | cksum) $SNN_ROOT"
    if [[ ! -f "$stamp" || "$(cat "$stamp")" != "$wanted" ]]; then
        if [[ ! -x "$venv/bin/python" ]]; then
            base="$(_snn_base_python)" || exit 1
            echo "making .venv with $("$base" --version)" >&2
            "$base" -m venv "$venv" || _snn_fail "the environment $venv could not be made"
        fi
        echo "installing requirements.txt into .venv (a minute or two, once)" >&2
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            --requirement "$SNN_ROOT/requirements.txt" &&
            "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
                --no-deps --editable "$SNN_ROOT" ||
            _snn_fail "pip could not install the requirements; the lines above say why"
        echo "$wanted" >"$stamp"
    fi
    PYTHON="$venv/bin/python"
}

if [[ -z "${PYTHON:-}" ]]; then
    _snn_make_environment
fi
export PYTHON
"$PYTHON" -c 'import h5py, numba, safetensors, sklearn, torch, yaml' 2>/dev/null ||
    _snn_fail "$PYTHON lacks packages of requirements.txt; install them there, or unset PYTHON"
