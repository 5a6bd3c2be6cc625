"""Two processes with a folder each: killed and resumed they do what they do in one go."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.checkpoints import load_checkpoint
from common.paths import ROOT

DASBE = """--dataset bars --images 60 --steps_per_epoch 3 --batch_size 10 --epochs 4"""
GUST = """--train_objects 2 --images 60 --encoder_widths 24 16 --decoder_widths 16 24 --window 5
    --refractory 4 --iterations 3 --batch_size 20 --epochs 4 --settle 3 --score_images 4"""
SNN_THA = """--dataset mnist --data embedded --steps 4 --test_steps 4 --convolutions 2 --hidden
    --thr_start 0.5 0.5 --thr_added 0.5 0.5 --alpha 0.1 0.1 --thr_full_precision 0.5 0.5
    --dropout 0 0 --train_samples 60 --test_samples 20 --batch_size 20 --epochs 4"""
ASSOCIATIONS = """--sequence_length 2 --num_classes 3 --num_time_steps 15 --embedding_size 20
    --memory_size 12 --training_size 44 --validation_size 20 --test_size 30 --batch_size 12
    --epochs 4"""
BABI = """--task 1 --data embedded --ten_k 0 --batch_size 250 --sentence_duration 10 --epochs 3
    --embedding_size 20 --memory_size 12"""
PROTONET = """--data embedded --channels 4 --way 5 --iterations 3 --validation_size 4 --test_size 4
    --epochs 4"""
CLASSIFIER = "--data embedded --channels 4 --epochs 4"
TRAINERS = [
    ("dasbe.train", DASBE),
    pytest.param("gust.train", GUST, marks=pytest.mark.slow),
    pytest.param("snn_tha.run", SNN_THA, marks=pytest.mark.slow),
    ("hebbian_snn.memorizing_associations_task", ASSOCIATIONS),
    pytest.param("hebbian_snn.question_answering_task", BABI, marks=pytest.mark.slow),
    pytest.param("hebbian_snn.pretrain_protonet", PROTONET, marks=pytest.mark.slow),
    pytest.param("hebbian_snn.pretrain_digit_classifier", CLASSIFIER, marks=pytest.mark.slow),
]


def both(folder: Path, module: str, flags: str, saves: int = 0) -> list[tuple[int, str]]:
    """Run the two processes; what they ended with, and what they said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["NUMBA_NUM_THREADS"] = "1"
    processes = []
    for rank in (0, 1):
        out = str(folder / str(rank) / "net.safetensors")
        own = ["--device", "cpu", "--out", out, "--dist_url", url, "--world_size", "2"]
        own += ["--rank", str(rank), "--dist_timeout", "120"]
        words = [str(saves if rank == 0 else 0), module, *flags.split(), *own]
        if module == "snn_tha.run":
            words += ["--logs", str(folder / f"logs{rank}")]
        processes.append(
            subprocess.Popen(
                [sys.executable, str(ROOT / "tests" / "two_machines.py"), *words],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    try:
        said = [process.communicate(timeout=400)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


@pytest.mark.parametrize(("module", "flags"), TRAINERS, ids=lambda value: value.split(" ")[0])
def test_killed_and_resumed_equals_never_killed(module, flags, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    found = both(straight, module, flags)
    assert [status for status, _ in found] == [0, 0], found
    found = both(killed, module, flags, saves=2)
    assert found[0][0] == 9 and found[1][0] == 1, found
    assert "lost contact" in found[1][1]
    found = both(killed, module, flags)
    assert [status for status, _ in found] == [0, 0], found
    assert not (killed / "1").exists() and not (straight / "1").exists(), "rank 1 writes nothing"
    one, two = (load_checkpoint(folder / "0" / "net.safetensors") for folder in (straight, killed))
    assert one.tensors.keys() == two.tensors.keys()
    for name in one.tensors:
        assert torch.equal(one.tensors[name], two.tensors[name]), name
    epochs = [line["epoch"] for line in two.metadata["curve"]]
    assert epochs == [line["epoch"] for line in one.metadata["curve"]] and len(epochs) > 2
    if module == "dasbe.train":
        again = both(killed, module, flags)
        assert [status for status, _ in again] == [0, 0]
        assert all("is there already" in text for _, text in again), again
