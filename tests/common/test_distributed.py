"""Several processes compute what one does, and say so when one of them is lost.

Run as a script, this file is one of the processes.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from common.distributed import Distributed, add_arguments, distributed
from common.errors import UserError, command_line
from common.paths import ROOT

N_IMAGES = 5


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4).eval(), nn.Linear(4, 1))


def batch(n: int = N_IMAGES) -> torch.Tensor:
    return torch.randn(n, 6, generator=torch.Generator().manual_seed(7))


def gradients(net: nn.Module) -> list[torch.Tensor]:
    return [p.grad.clone() for p in net.parameters()]


# ---------------------------------------------------------------------- one of the processes


@command_line
def worker(argv=None) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--alike", action="store_true", help="data differ")
    parser.add_argument("--lose", type=int, help="this rank leaves without a word")
    args = parser.parse_args(argv)
    with distributed(args, device="cpu") as group:
        if args.lose == group.rank:
            os._exit(3)
        net = network(seed=group.rank)
        group.broadcast_module(net)
        result = {"weights": [p.detach().clone() for p in net.parameters()]}
        for n in (N_IMAGES, 1):  # with one image a share is empty
            share = batch(n)[group.local_slice(n)]
            net.zero_grad()
            if len(share):
                net(share).square().mean().backward()
            group.average_gradients(net, weight=len(share))
            result[f"mean of {n}"] = gradients(net)
        net.zero_grad()
        net(batch()[group.local_slice(N_IMAGES)]).square().sum().backward()
        group.sum_gradients(net)
        result["sum"] = gradients(net)
        result["reduced"] = group.all_reduce_mean(torch.tensor(float(group.rank)))
        group.barrier()
        if args.alike:
            group.check_alike({"seed": 0, "data": {"images": group.rank}})
        told = group.from_main(lambda: {"rank": group.rank, "tensor": torch.ones(2)})
        assert told["rank"] == 0 and told["tensor"].equal(torch.ones(2))
        torch.save(result, args.out / f"{group.rank}.pt")


# --------------------------------------------------------------------------------- the tests


def free_url() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def start(*words: str) -> subprocess.Popen:
    variables = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE")}
    variables |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *words], env=variables, stderr=subprocess.PIPE, text=True
    )


def start_by_hand(out: Path, *words: str) -> list[subprocess.Popen]:
    url = free_url()
    flags = ["--dist_url", url, "--world_size", "2", "--dist_timeout", "60", "--out", str(out)]
    return [start(__file__, *flags, "--rank", str(rank), *words) for rank in (0, 1)]


def ends(process: subprocess.Popen) -> tuple[int, str]:
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, errors


@pytest.mark.parametrize("launcher", ["flags", "torchrun"])
def test_two_processes_get_the_gradients_of_one(tmp_path: Path, launcher: str) -> None:
    if launcher == "flags":
        processes = start_by_hand(tmp_path)
    else:
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        processes = [start(*torchrun, __file__, "--out", str(tmp_path))]
    for process in processes:
        status, errors = ends(process)
        assert status == 0, errors
    net = network(seed=0)
    expected = {"weights": [p.detach().clone() for p in net.parameters()]}
    for key, n, reduce in (
        (f"mean of {N_IMAGES}", N_IMAGES, torch.mean),
        ("mean of 1", 1, torch.mean),
        ("sum", N_IMAGES, torch.sum),
    ):
        net.zero_grad()
        reduce(net(batch(n)).square()).backward()
        expected[key] = gradients(net)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert found.pop("reduced") == 0.5
        torch.testing.assert_close(found, expected)


def test_a_lost_process_ends_the_others_with_a_sentence(tmp_path: Path) -> None:
    first, second = start_by_hand(tmp_path, "--lose", "1")
    assert ends(second)[0] == 3
    status, errors = ends(first)
    assert status == 1
    assert "error: process 0 of 2 lost contact with the others" in errors
    assert "Traceback" not in errors


def test_processes_at_other_trainings_all_say_so(tmp_path: Path) -> None:
    for status, errors in map(ends, start_by_hand(tmp_path, "--alike")):
        assert status == 1
        assert "process 1 of 2 is at another training than process 0 (data.images: 0" in errors
        assert "Traceback" not in errors


def test_a_process_that_finds_nobody_ends_with_a_sentence() -> None:
    args = arguments("--dist_url", free_url(), "--world_size", "2", "--rank", "1")
    args.dist_timeout = 1.0
    with (
        pytest.raises(UserError, match="process 1 of 2 could not reach the others"),
        distributed(args, "cpu"),
    ):
        raise AssertionError("joined nobody")


@pytest.mark.parametrize("rank", [0, 1])
def test_another_server_at_the_address_ends_both_within_the_time_limit(rank: int) -> None:
    """It takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        flags = ["--dist_url", url, "--world_size", "2", "--dist_timeout", "2"]
        status, errors = ends(start(__file__, *flags, "--rank", str(rank)))
    assert status == 1
    last = errors.strip().splitlines()[-1]
    assert last.startswith(f"error: process {rank} of 2 could not reach the others at {url}")
    assert "Traceback" not in errors


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_alone_nothing_changes(monkeypatch) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    net = network(0)
    net(batch()).square().mean().backward()
    before = gradients(net)
    for words in ([], ["--world_size", "1"]):
        with distributed(arguments(*words), "cpu") as group:
            assert group == Distributed(0, 1, torch.device("cpu")) and group.is_main
            group.broadcast_module(net)
            group.average_gradients(net, weight=3)
            group.sum_gradients(net)
            group.barrier()
            assert group.all_reduce_mean(torch.tensor(2.0)) == 2.0
            assert batch()[group.local_slice(N_IMAGES)].equal(batch())
    assert all(torch.equal(a, b) for a, b in zip(before, gradients(net), strict=True))


@pytest.mark.parametrize(("n", "size"), [(0, 3), (2, 3), (7, 3), (9, 3), (5, 1)])
def test_local_slices_cover_the_batch_once(n: int, size: int) -> None:
    shares = [
        list(range(n))[Distributed(rank, size, torch.device("cpu")).local_slice(n)]
        for rank in range(size)
    ]
    assert [i for share in shares for i in share] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--world_size", "2"], "together"),
        (["--rank", "0", "--dist_url", "tcp://127.0.0.1:1"], "together"),
        (["--dist_url", "x", "--world_size", "2", "--rank", "2"], "from 0 to 1, not 2"),
        (["--dist_url", "127.0.0.1:1", "--world_size", "2", "--rank", "0"], "could not reach"),
        (
            ["--dist_url", "x", "--world_size", "2", "--rank", "0", "--dist_backend", "nccl"],
            "nccl needs GPUs",
        ),
    ],
)
def test_flags_that_do_not_fit(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message), distributed(arguments(*words), "cpu"):
        raise AssertionError("joined")


@pytest.mark.parametrize(("size", "rank"), [("-2", "0"), ("0", "0"), ("2", "2"), ("2", "-1")])
def test_variables_that_do_not_fit(size: str, rank: str, monkeypatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("RANK", rank)
    with (
        pytest.raises(UserError, match=f"WORLD_SIZE={size}, RANK={rank}"),
        distributed(arguments(), "cpu"),
    ):
        raise AssertionError("joined")


def test_bad_variables(monkeypatch) -> None:
    monkeypatch.setenv("RANK", "zero")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="must be integers"), distributed(arguments(), "cpu"):
        raise AssertionError("joined")


if __name__ == "__main__":
    sys.exit(worker())
