"""Lines of the originals' READMEs in a fresh clone; all of them with SNN_ALL_TESTS=1."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from common.paths import ROOT


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_lines_of_the_originals_readmes() -> None:
    more = ["--all"] if os.environ.get("SNN_ALL_TESTS") == "1" else []
    done = subprocess.run(
        ["tests/original_readmes.sh", *more],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all lines passed\n")
