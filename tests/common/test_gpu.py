"""What a user with GPUs would meet, tried without one (see also tests/test_pretended_gpu.py)."""

import argparse
import datetime
import importlib
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from common import counter_noise, distributed, gpu
from common.distributed import Distributed, check_gpus
from common.errors import UserError
from common.paths import ROOT
from common.training import choose_device


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


# ---- several processes --------------------------------------------------------------------------


def test_every_process_has_a_gpu_of_its_own(two_gpus, monkeypatch) -> None:
    for device, processes, message in (
        ("cuda:0", 2, "2 processes cannot share cuda:0"),
        ("auto", 3, "3 processes for 2 GPUs"),
        ("cuda", 3, "3 processes for 2 GPUs"),
    ):
        with pytest.raises(UserError, match=message):
            check_gpus(device, processes)
    for device, processes in (("auto", 2), ("cuda", 2), ("cpu", 9), ("cuda:1", 1)):
        check_gpus(device, processes)


def test_a_gpu_named_for_several_processes_is_refused_before_they_start(two_gpus, capsys) -> None:
    from hebbian_snn import memorizing_associations_task

    for flags, message in (
        (["--gpu", "0"], "2 processes cannot share cuda:0"),
        (["--processes_per_node", "3"], "3 processes for 2 GPUs"),
    ):
        command = ["--multiprocessing_distributed", *flags, "--overwrite"]
        assert memorizing_associations_task.main(command) == 1
        assert message in capsys.readouterr().err


def test_torchrun_with_a_named_gpu_is_refused(two_gpus, monkeypatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    distributed.add_arguments(parser)
    with (
        pytest.raises(UserError, match="cannot share cuda:1"),
        distributed.distributed(parser.parse_args([]), "cuda:1"),
    ):
        pass


def test_two_processes_on_one_gpu_are_a_message(monkeypatch) -> None:
    """Started by hand on one machine, what NCCL says is the first that is known of it."""

    def duplicate(*_, **__):
        raise RuntimeError("NCCL error: Duplicate GPU detected : rank 0 and rank 1")

    monkeypatch.setattr(distributed.dist, "get_backend", lambda: "nccl")
    monkeypatch.setattr(distributed.dist, "all_reduce", duplicate)
    with pytest.raises(UserError, match="given the same GPU"):
        Distributed(0, 2, torch.device("cpu")).barrier()


def test_a_lost_process_under_nccl_is_a_message_in_time(monkeypatch) -> None:
    """The host waits for what it reads, so long at most; what only the GPU needs it does not."""
    waited = []

    def wait(timeout):
        waited.append(timeout)
        raise RuntimeError("Timed out waiting 7000ms for send operation")

    work = SimpleNamespace(wait=wait)
    monkeypatch.setattr(distributed.dist, "get_backend", lambda: "nccl")
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda x, async_op=False: work)
    group = Distributed(0, 2, torch.device("cpu"), timeout=7.0)
    for call in (group.barrier, lambda: group.all_reduce_sum(torch.zeros(1))):
        with pytest.raises(UserError, match="process 0 of 2 lost contact"):
            call()
    assert waited == [datetime.timedelta(seconds=7)] * 2
    group.all_reduce_sum(torch.zeros(1), wait=False)
    assert len(waited) == 2


def test_nccl_ends_operations_that_nobody_waits_for(monkeypatch) -> None:
    started, silence = {}, []
    monkeypatch.delenv("TORCH_NCCL_ASYNC_ERROR_HANDLING", raising=False)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    dist = distributed.dist
    monkeypatch.setattr(dist, "init_process_group", lambda *a, **k: started.update(backend=a[0]))
    monkeypatch.setattr(dist.distributed_c10d, "_set_pg_timeout", silence.append)
    monkeypatch.setattr(Distributed, "barrier", lambda self: None)
    group = Distributed(0, 2, torch.device("cuda", 0), timeout=5.0)
    distributed._join(group, "env://", None, 5.0)
    assert started["backend"] == "nccl"
    assert os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] == "1"
    # After the host's own wait, so that its message comes first.
    assert silence == [datetime.timedelta(seconds=10)]


PARSERS = {
    "dasbe.train": "--dataset shapes",
    "gust.train": "",
    "snn_tha.run": "",
    "hebbian_snn.memorizing_associations_task": "",
    "hebbian_snn.question_answering_task": "",
    "hebbian_snn.omniglot_one_shot_task": "",
    "hebbian_snn.cross_modal_associations_task": "",
}


@pytest.mark.parametrize("module", PARSERS)
def test_torchrun_takes_no_flag_of_ours_for_its_own(module, monkeypatch) -> None:
    """Each flag has a spelling that reaches our command line."""
    from torch.distributed.run import get_args_parser

    flags = []
    original = argparse.ArgumentParser.parse_known_args

    def collect(parser, *_):
        flags.extend(action.option_strings for action in parser._actions)
        raise UserError("seen")

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", collect)
    assert importlib.import_module(module).main(PARSERS[module].split()) == 1
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", original)
    assert len(flags) > 10
    for spellings in flags:
        reached = [reaches(get_args_parser(), flag) for flag in spellings if flag]
        assert not spellings or any(reached), f"torchrun does not pass on {spellings}"


def reaches(parser: argparse.ArgumentParser, flag: str) -> bool:
    """Whether torchrun hands the flag on to the script."""
    try:
        found = parser.parse_args(["--standalone", "-m", "some.module", flag, "1"])
    except SystemExit:
        return False
    return found.training_script_args == [flag, "1"]


def test_games_train_in_one_process(monkeypatch, capsys) -> None:
    from hebbian_snn import reinforcement_learning_task

    monkeypatch.setenv("WORLD_SIZE", "2")
    assert reinforcement_learning_task.main([]) == 1
    assert "runs in one process" in capsys.readouterr().err


# ---- what runs where ----------------------------------------------------------------------------


def test_products_on_a_gpu_keep_all_bits(two_gpus) -> None:
    torch.backends.cudnn.allow_tf32 = True
    choose_device("cuda")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_rounded_convolutions_would_move_spikes() -> None:
    """On the pretended GPU, which rounds as a card does where it may."""
    code = """
import sys
sys.path[:0] = ["tests", "."]
import pretended_gpu, torch
from common.training import choose_device, generator
from hebbian_snn.neurons import IFParameters, LIFParameters
from hebbian_snn.convnets.spiking_cnn import SpikingEncoder
images = torch.rand(2, 16, 16, generator=generator(1, "images"))
pretended_gpu.install()
def spikes(device):
    draw = generator(0, "start")
    neurons = LIFParameters(0.05), IFParameters(0.3, 0)
    encoder = SpikingEncoder(8, 60, *neurons, draw, backend="reference").to(device)
    return encoder(images.to(device)).cpu()
expected = spikes("cpu")
torch.backends.cudnn.allow_tf32 = True
rounded = spikes("cuda")
found = spikes(choose_device("cuda"))
print(int(expected.sum()), int((rounded != expected).sum()), int((found != expected).sum()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    fired, rounded, exact = map(int, done.stdout.split())
    assert fired and rounded and not exact


@pytest.mark.parametrize("package", ["hebbian_snn", "gust", "snn_tha"])
def test_without_triton_plain_loops_run_and_say_so(package, monkeypatch, capsys) -> None:
    kernels = importlib.import_module(f"{package}.kernels")
    currents = SimpleNamespace(device=torch.device("cuda", 0), dtype=torch.float32)
    if package == "gust":
        currents = currents.device
    choose = getattr(kernels, "choose_backend", None) or kernels.load_backend
    for reason, hidden in (("Triton is not installed", "triton"), ("no C compiler", "gcc")):
        gpu._say_once.cache_clear()
        with monkeypatch.context() as patched:
            patched.delenv("TRITON_INTERPRET", raising=False)
            patched.delenv("CC", raising=False)
            patched.setattr(
                gpu.importlib.util,
                "find_spec",
                lambda name, hidden=hidden: None if name == hidden else object(),
            )
            patched.setattr(gpu.shutil, "which", lambda name: None)
            found = choose("auto", currents)
            assert getattr(found, "__name__", found).endswith("reference")
            said = capsys.readouterr().err
            assert said.count("\n") == 1 and reason in said and "plain PyTorch loops" in said
            choose("auto", currents)
            assert not capsys.readouterr().err
            with pytest.raises(UserError, match=f"cannot run.*{reason}"):
                choose("cuda", currents)


def test_dasbe_stays_on_the_cpu_unless_it_is_told(two_gpus) -> None:
    from dasbe.binding import DEVICE

    assert choose_device("auto", DEVICE) == torch.device("cpu")
    assert choose_device("cuda", DEVICE) == torch.device("cuda")


# ---- random numbers -----------------------------------------------------------------------------


def test_keys_made_on_a_device_are_those_of_the_cpu() -> None:
    """The arithmetic of the GPU, here on tensors that only say they are elsewhere."""
    images = np.array([0, 3, 2**31, 2**40])

    class Elsewhere(torch.Tensor):
        device = SimpleNamespace(type="cuda")

    for seed, stream in ((0, 0), (-3, 7), (2**63, 2**33)):
        expected = counter_noise.image_keys(seed, stream, images)
        there = torch.from_numpy(images).as_subclass(Elsewhere)
        found = counter_noise.image_keys(seed, stream, there)
        assert np.array_equal(found.numpy().view(np.uint64), expected)
