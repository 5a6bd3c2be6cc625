"""One code path for one process and for many.

Started by ``torchrun``, which sets ``RANK``, ``WORLD_SIZE`` and ``LOCAL_RANK``, or by hand with
``--dist_url --world_size --rank`` on every machine, a script reads the same::

    with distributed(args, device=args.device) as group:
        group.broadcast_module(network)
        part = batch[group.local_slice(len(batch))]
        loss(network(part)).backward()          # a mean over the images of this part
        group.average_gradients(network, weight=len(part))
        optimizer.step()                        # equals a step on the whole batch

Alone, every method does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.errors import UserError, leave_at_once
from common.settings import differences
from common.training import choose_device, keep_float32

T = TypeVar("T")

MEETING, SILENCE = 300.0, 600.0
"""Seconds, unless --dist_timeout says so: until all have met, and later without a word."""


@dataclass(frozen=True)
class Distributed:
    """This process among ``world_size`` that train together; ``device`` is its own."""

    rank: int
    world_size: int
    device: torch.device
    timeout: float = SILENCE
    """Seconds until a process that does not answer counts as lost."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def local_slice(self, n: int) -> slice:
        """This process's share of a batch of ``n``: the shares are disjoint, in order, cover the
        batch and differ by at most one."""
        start, stop = (n * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return slice(start, stop)

    def all_reduce_sum(self, tensor: Tensor, wait: bool = True) -> Tensor:
        """The sum of ``tensor`` over the processes, as a new tensor on every one of them.

        Args:
            wait: under NCCL the host waits for it, ``timeout`` seconds at most, so that a lost
                process becomes a message; without, only the GPU does, as suits every step.
        """
        total = tensor.detach().clone()
        if self.world_size > 1:
            with self._contact():
                if wait and dist.get_backend() == "nccl":
                    work = dist.all_reduce(total, async_op=True)
                    work.wait(datetime.timedelta(seconds=self.timeout))
                else:
                    dist.all_reduce(total)
        return total

    def all_reduce_mean(self, tensor: Tensor) -> Tensor:
        """The mean of a floating-point ``tensor`` over the processes, as a new tensor."""
        return self.all_reduce_sum(tensor) / self.world_size

    def average_gradients(self, module: nn.Module, weight: float = 1.0) -> None:
        """Replace gradients by their weighted mean over the processes, in one exchange.

        For a loss that is a mean over images, ``weight`` is the number of images here: then the
        gradients are those of the whole batch, whatever the shares. A share may be empty
        (``weight=0``). Raises ``ValueError`` when all are.
        """
        self._reduce_gradients(module, weight, mean=True)

    def sum_gradients(self, module: nn.Module) -> None:
        """Replace gradients by their sum over the processes: for a loss summed over images."""
        self._reduce_gradients(module, 1.0, mean=False)

    def _reduce_gradients(self, module: nn.Module, weight: float, mean: bool) -> None:
        parameters = [p for p in module.parameters() if p.requires_grad]
        if self.world_size == 1 or not parameters:
            return
        # A parameter without a gradient here may have one elsewhere, so all take part.
        parts = [
            torch.zeros_like(p).flatten() if p.grad is None or weight == 0 else p.grad.flatten()
            for p in parameters
        ]
        flat = torch.cat([*parts, parts[0].new_ones(1)]) * weight
        flat = self.all_reduce_sum(flat, wait=False)
        if mean:
            if flat.device.type == "cpu" and flat[-1] == 0:  # a GPU would be waited for
                raise ValueError("no process has an image")
            flat /= flat[-1].clone()
        for parameter, part in zip(
            parameters, flat[:-1].split([p.numel() for p in parameters]), strict=True
        ):
            parameter.grad = part.view_as(parameter).to(parameter.dtype, copy=True)

    def broadcast_module(self, module: nn.Module) -> None:
        """Give every process the parameters and buffers of rank 0."""
        if self.world_size == 1:
            return
        with self._contact(), torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                dist.broadcast(tensor, src=0)

    def from_main(self, work: Callable[[], T]) -> T:
        """What ``work`` returns on rank 0, on every process; the others do not call it. Where it
        raises :class:`UserError` there, all raise it."""
        if self.world_size == 1:
            return work()
        told: list[Any] = [None, None]
        if self.is_main:
            try:
                told[0] = work()
            except UserError as error:
                told[1] = error
        with self._contact():
            device = None if self.device.type == "cpu" else self.device
            dist.broadcast_object_list(told, src=0, device=device)
        if told[1] is not None:
            raise told[1]
        return told[0]

    def check_alike(self, value: Mapping[str, Any]) -> None:
        """Raise :class:`UserError` on every process where the (nested) values, such as settings
        and data, are not those of rank 0 on all of them."""
        if self.world_size == 1:
            return
        different = differences(self.from_main(lambda: value), value)
        found: list[list[str]] = [[]] * self.world_size
        with self._contact():
            dist.all_gather_object(found, different)
        for rank, lines in enumerate(found):
            if lines:
                raise UserError(
                    f"process {rank} of {self.world_size} is at another training than process 0 "
                    f"({'; '.join(lines)}, in process {rank}); give all the same flags and data"
                )

    def barrier(self) -> None:
        """Wait until every process is here; the host does, under NCCL too."""
        self.all_reduce_sum(torch.zeros(1, device=self.device))

    def close(self) -> None:
        """Leave the group of processes; without effect for a single one."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()
            keep_float32(False)

    @contextlib.contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # what gloo and NCCL raise for lost peers and timeouts
            if "Duplicate GPU" in str(error):
                raise UserError(
                    "two processes were given the same GPU; start one for each, with --device cuda"
                ) from error
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"process {self.rank} of {self.world_size} lost contact with the others "
                f"({reason}); start all of them again to go on from the last saved state"
            ) from error


ALONE = Distributed(0, 1, torch.device("cpu"))
"""Of a command without other processes, for what does not ask for the device."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of a start by hand; ``torchrun`` and a single process need none of them."""
    group = parser.add_argument_group("several processes (not needed with torchrun)")
    group.add_argument("--dist_url", "--dist-url", help="address of rank 0: tcp://HOST:PORT")
    group.add_argument("--world_size", "--world-size", type=int, help="number of processes")
    group.add_argument("--rank", type=int, help="number of this process, from 0")
    group.add_argument(
        "--dist_backend",
        "--dist-backend",
        choices=("nccl", "gloo", "mpi"),
        help="default: nccl on CUDA, gloo on CPU",
    )
    group.add_argument(
        "--dist_timeout",
        "--dist-timeout",
        type=float,
        help="seconds until all processes must have met (default: 300), and later without a word "
        "from another one until the job ends (default: 600)",
    )


@contextlib.contextmanager
def distributed(args: argparse.Namespace, device: str = "auto") -> Iterator[Distributed]:
    """Join the other processes named by the flags or by torchrun, and leave them at the end.

    Raises :class:`UserError` for flags that do not fit together, a missing GPU, or processes that
    do not answer within ``--dist_timeout`` seconds.
    """
    rank, world_size, local_rank, url = _launch(args)
    if world_size > 1:
        check_gpus(device, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        if device in ("auto", "cuda") and torch.cuda.is_available():
            device = f"cuda:{local_rank}"
    group = Distributed(rank, world_size, choose_device(device), args.dist_timeout or SILENCE)
    if world_size > 1:
        _join(group, url, args.dist_backend, args.dist_timeout)
        keep_float32(not getattr(args, "bfloat16", False))
        leave_at_once()
    # After an error the group stays open: closing it could wait for others, the end of this
    # process tells them.
    yield group
    group.close()


def check_gpus(device: str, processes: int) -> None:
    """Raise :class:`UserError` where so many processes of this machine cannot each have a GPU."""
    if processes < 2 or not torch.cuda.is_available() or device == "cpu":
        return
    if device.startswith("cuda:"):
        raise UserError(
            f"{processes} processes cannot share {device}; give --device cuda, and each takes a "
            "GPU of its own, or start one process"
        )
    if processes > torch.cuda.device_count():
        raise UserError(
            f"there are {processes} processes for {torch.cuda.device_count()} GPUs; start at most "
            "one for each GPU, or give --device cpu"
        )


def _launch(args: argparse.Namespace) -> tuple[int, int, int, str]:
    """(rank, world size, rank on this machine, address) from the flags or torchrun's variables."""
    flags = (args.dist_url, args.world_size, args.rank)
    if any(flag is not None for flag in flags):
        if args.world_size == 1 and args.rank in (None, 0):
            return 0, 1, 0, ""
        if any(flag is None for flag in flags):
            raise UserError("give --dist_url, --world_size and --rank together, or use torchrun")
        if args.world_size < 1:
            raise UserError(f"--world_size is {args.world_size}; give 1 process or more")
        if not 0 <= args.rank < args.world_size:
            raise UserError(f"--rank must be from 0 to {args.world_size - 1}, not {args.rank}")
        return (
            args.rank,
            args.world_size,
            args.rank % max(1, torch.cuda.device_count()),
            args.dist_url,
        )
    if "WORLD_SIZE" not in os.environ or "RANK" not in os.environ:
        return 0, 1, 0, ""
    try:
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        if not 0 <= rank < world_size or local_rank < 0:
            raise UserError(
                f"the variables WORLD_SIZE={world_size}, RANK={rank}, LOCAL_RANK={local_rank} do "
                "not fit together; use torchrun, or unset them"
            )
        return rank, world_size, local_rank, "env://"
    except ValueError:
        raise UserError(
            "the variables RANK, WORLD_SIZE and LOCAL_RANK must be integers; use torchrun"
        ) from None


def _join(group: Distributed, url: str, backend: str | None, timeout: float | None) -> None:
    backend = backend or ("nccl" if group.device.type == "cuda" else "gloo")
    if backend == "nccl" and group.device.type != "cuda":
        raise UserError("--dist_backend nccl needs GPUs; use gloo")
    if backend == "mpi" and not dist.is_mpi_available():
        raise UserError("this PyTorch is built without MPI; use --dist_backend gloo or nccl")
    if group.device.type == "cuda":
        torch.cuda.set_device(group.device)
    if timeout is not None and not 0 < timeout < 1e6:
        raise UserError(f"--dist_timeout is {timeout}; give seconds, more than 0")
    where = _address() if url == "env://" else url
    failed = f"process {group.rank} of {group.world_size} could not reach the others at {where}"
    advice = "check that all are started, and that rank 0's machine and a free port are named"
    until_met = MEETING if timeout is None else timeout
    silence = SILENCE if timeout is None else timeout
    if backend == "nccl":
        # An operation that nobody waits for ends the process when it fails; those that the host
        # waits for end with a message, before that.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1")
        silence *= 2
    message = f"{failed} within {until_met:g} s; {advice}"
    # Whoever else listens there may never answer, and not every wait inside has a limit.
    alarm = threading.Timer(until_met + 5, _give_up, [message])
    alarm.daemon = True
    alarm.start()
    try:
        dist.init_process_group(
            backend,
            init_method=url,
            rank=group.rank,
            world_size=group.world_size,
            timeout=datetime.timedelta(seconds=until_met),
        )
        group.barrier()  # NCCL meets at its first exchange
        dist.distributed_c10d._set_pg_timeout(datetime.timedelta(seconds=silence))
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{failed} ({reason}); {advice}") from error
    finally:
        alarm.cancel()


def _address() -> str:
    """Where torchrun's processes meet."""
    return f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"


def _give_up(message: str) -> None:
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(1)
