"""Several processes train as one, and processes that are killed."""

import random
import signal
import subprocess
import sys
import time

import pytest
from hebbian_runs import (
    command,
    environment,
    flags,
    free_url,
    last_state,
    log,
    run,
    same_training,
    start,
    words,
)

from common.paths import ROOT

FIVE_STEPS = words("--training_size 60 --start_epoch 1 --epochs 2")
"""From epoch 1 on the firing rates are part of the loss."""


def wait(processes, seconds=300):
    """The exit statuses and what was said on stderr."""
    try:
        outputs = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [process.returncode for process in processes], outputs


def same_parameters(folder, other):
    one, two = last_state(folder), last_state(other)
    assert one["curve"][-1]["rate_term"] > 0
    for name, tensor in one["network"].items():
        assert (tensor - two["network"][name]).abs().max() < 1e-5, name


def two_ranks(folder, *more):
    group = ["--dist_url", free_url(), "--world_size", "2", "--dist_backend", "gloo"]
    return [start(command(*flags(folder, *more, *group), "--rank", rank)) for rank in "01"]


@pytest.mark.parametrize("more", [[], ["--queries", "2"]])
def test_two_processes_take_the_steps_of_one(more, tmp_path):
    alone, both = tmp_path / "alone", tmp_path / "both"
    processes = two_ranks(both, *FIVE_STEPS, *more)
    assert run(alone, *FIVE_STEPS, *more) == 0
    statuses, errors = wait(processes)
    assert statuses == [0, 0], errors
    same_parameters(alone, both)


@pytest.mark.slow
def test_two_processes_of_256_take_the_steps_of_one_of_512(tmp_path):
    """Two steps: later a sum that is rounded otherwise moves a spike, and the weights part."""
    paper = words("""--sequence_length 3 --num_classes 3 --num_time_steps 100 --embedding_size 80
        --memory_size 100 --thr 0.1 --training_size 512 --batch_size 512 --validation_size 64
        --test_size 64 --start_epoch 1 --epochs 2""")
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert run(alone, *paper) == 0
    statuses, errors = wait(two_ranks(both, *paper), 400)
    assert statuses == [0, 0], errors
    same_parameters(alone, both)


@pytest.mark.slow
def test_a_process_for_each_gpu_and_torchrun(tmp_path):
    alone, spawned, torchrun = (tmp_path / name for name in ("alone", "spawned", "torchrun"))
    assert run(alone, *FIVE_STEPS) == 0
    more = ["--multiprocessing_distributed", "--processes_per_node", "2"]
    processes = [
        start(command(*flags(spawned, *FIVE_STEPS, *more))),
        start(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"),
                *("--master_port", free_url().rpartition(":")[2]),
                str(ROOT / "hebbian_snn" / "memorizing_associations_task.py"),
                *flags(torchrun, *FIVE_STEPS),
            ]
        ),
    ]
    statuses, errors = wait(processes)
    assert statuses == [0, 0], errors
    same_parameters(alone, spawned)
    same_parameters(alone, torchrun)


def wait_for_log(folder, process, lines, seconds=300):
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if len(log(folder)) >= lines:
            return
        time.sleep(0.002)
    raise AssertionError(f"no {lines} epochs: {process.communicate()}")


def test_a_lost_process_ends_the_other_with_a_sentence(tmp_path):
    first, second = two_ranks(tmp_path, "--epochs", "100000")
    try:
        wait_for_log(tmp_path, first, 2)
    finally:
        second.kill()
    statuses, errors = wait([first, second], 60)
    assert statuses[0] == 1
    assert errors[0].strip().splitlines()[-1].startswith("error: process 0 of 2 lost contact")
    assert run(tmp_path, "--epochs", str(len(log(tmp_path)) + 1)) == 1  # of another command
    assert (tmp_path / "partial" / "hebbian_snn_net.pt").exists()


@pytest.mark.slow
def test_the_parent_says_which_process_was_lost(tmp_path):
    more = ["--multiprocessing_distributed", "--processes_per_node", "2", "--epochs", "100000"]
    parent = start(command(*flags(tmp_path, *more)))
    try:
        wait_for_log(tmp_path, parent, 2)
        children = subprocess.run(
            ["ps", "-ww", "--ppid", str(parent.pid), "-o", "pid=,args="],
            capture_output=True,
            text=True,
        ).stdout.splitlines()
        workers = [int(line.split()[0]) for line in children if "spawn_main" in line]
        assert len(workers) == 2
        subprocess.run(["kill", "-9", str(workers[1])], check=True)
    finally:
        statuses, errors = wait([parent], 60)
    assert statuses == [1]
    assert "ended before its work was done" in errors[0]


@pytest.mark.parametrize("rounds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_a_random_moment_and_resumed(rounds, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    long = ["--epochs", str(20 + 10 * rounds)]
    assert run(straight, *long) == 0
    line, done = command(*flags(killed, *long)), 0
    for _ in range(rounds):
        process = start(line)
        wait_for_log(killed, process, done + random.randint(1, 4))
        time.sleep(random.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        done = len(log(killed))
        assert not (killed / "net.safetensors").exists()
    assert run(killed, *long) == 0
    same_training(killed, straight)


@pytest.mark.parametrize("way", ["script", "module"])
def test_it_runs_from_any_folder(way, tmp_path):
    script = str(ROOT / "hebbian_snn" / "memorizing_associations_task.py")
    line = {"script": [sys.executable, script], "module": command()}[way]
    done = subprocess.run(
        [*line, *flags(tmp_path, "--epochs", "1")],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "test: cross entropy" in done.stdout


@pytest.mark.slow
def test_the_run_that_compiles_comes_to_the_numbers_of_the_next(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    for name in ("first", "second"):
        line = command(*flags(tmp_path / name, "--epochs", "2"))
        subprocess.run(line, env=environment(), check=True, capture_output=True)
    assert any((tmp_path / "cache").iterdir())
    same_training(tmp_path / "first", tmp_path / "second")
