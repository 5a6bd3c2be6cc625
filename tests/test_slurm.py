"""Trainings as an array of jobs of a real SLURM: killed, out of time, queued again, and equal to
trainings here. Skipped where there is no sbatch; takes about 10 minutes."""

import json
import shutil
import subprocess
import time

import pytest
import torch

from common.checkpoints import load_checkpoint
from common.jobs import Training, submit
from common.paths import ROOT
from dasbe import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(shutil.which("sbatch") is None, reason="no SLURM (sbatch) here"),
]
TINY = [
    "--dataset",
    "bars",
    "--images",
    "60",
    "--steps_per_epoch",
    "3",
    "--batch_size",
    "10",
    "--device",
    "cpu",
]
PAUSES = {"one": (0, 4), "two": (0, 6), "requeued": (0.5, 20), "out of time": (1, 100)}
"""Seconds after every epoch, and epochs, of each training."""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A SLURM of one node."""
    script, folder = str(ROOT / "scripts" / "slurm_here.sh"), tmp_path / "slurm"
    subprocess.run([script, "start", str(folder)], check=True, timeout=120)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    subprocess.run([script, "stop", str(folder)], check=True, timeout=60)


def flags(folder, name):
    path = folder / name.replace(" ", "_") / "net.safetensors"
    return [*TINY, "--epochs", str(PAUSES[name][1]), "--out", str(path)], path


def wait(true, seconds, what):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"{what}: {squeue()}"
        time.sleep(1)


def squeue():
    return subprocess.run(["squeue", "--array"], capture_output=True, text=True).stdout


def test_an_array_of_four(slurm, tmp_path):
    trainings = [
        Training(
            name,
            (str(ROOT / "tests" / "slow_training.py"), str(pause), *flags(tmp_path, name)[0]),
        )
        for name, (pause, _) in PAUSES.items()
    ]
    jobs = submit(trainings, tmp_path / "logs", time=2, partition="here", signal_delay_s=30)
    assert len({job.job_id.split("_")[0] for job in jobs}) == 1, "one array"
    log = tmp_path / "requeued" / "net" / "dasbe_net.jsonl"

    def five_epochs():
        return log.exists() and len(log.read_text().splitlines()) >= 5

    wait(five_epochs, 120, "it does not train")
    subprocess.run(["scontrol", "requeue", jobs[2].job_id], check=True)
    paths = {name: flags(tmp_path, name)[1] for name in PAUSES}
    wait(lambda: all(path.exists() for path in paths.values()), 900, "not all have finished")
    said = {name: job.paths.stdout.read_text() for name, job in zip(PAUSES, jobs, strict=True)}
    print(json.dumps(said, indent=1))
    assert "timed-out" in said["out of time"] and "Requeued job" in said["out of time"]
    for name in ("requeued", "out of time"):
        assert said[name].count("Starting with") >= 2, name
    for name, path in paths.items():
        here, expected = flags(tmp_path / "here", name)
        assert train.main(here) == 0
        one, two = load_checkpoint(path), load_checkpoint(expected)
        assert all(torch.equal(one.tensors[key], two.tensors[key]) for key in two.tensors), name
        epochs = [line["epoch"] for line in one.metadata["curve"]]
        assert epochs == list(range(1, PAUSES[name][1] + 1))
