"""Children end with their parent, whatever ends it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from common.paths import ROOT

PARENT = {
    "run_child": "from common.processes import run_child, terminated_as_interrupted\n"
    "with terminated_as_interrupted():\n    run_child([sys.executable, '-c', child])",
    "run_here": "from pathlib import Path; from common.jobs import Training, run_here\n"
    "training = Training('a', ('-c', child))\n"
    "list(run_here([training], 1, Path(sys.argv[1]) / 'logs'))",
}


def gone(pid: int, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGKILL"])
@pytest.mark.parametrize("way", PARENT)
def test_a_child_ends_with_its_parent(way, how, tmp_path):
    child = (
        "import os, time, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'pid.tmp')!r}).write_text(str(os.getpid()))\n"
        f"os.rename({str(tmp_path / 'pid.tmp')!r}, {str(tmp_path / 'pid')!r})\n"
        "time.sleep(300)"
    )
    script = f"import sys\nchild = {child!r}\n{PARENT[way]}"
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        # A background job of a shell starts with SIGINT ignored, and would hand that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until = time.monotonic() + 100
        while not (tmp_path / "pid").exists() and time.monotonic() < until:
            time.sleep(0.05)
        pid = int((tmp_path / "pid").read_text())
        parent.send_signal(getattr(signal, how))
        parent.wait(60)
        assert gone(pid)
    finally:
        parent.kill()
