"""One process, or one for every GPU of a node."""

from __future__ import annotations

import argparse
import copy
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import numba
import torch
from torch import multiprocessing

from common.distributed import check_gpus
from common.errors import UserError, command_line


def launch(args: argparse.Namespace, work: Callable[..., None], *more: Any) -> None:
    """Call ``work(args, *more)`` here, or under --multiprocessing_distributed in new processes.

    There ``--world_size`` and ``--rank`` count nodes, and ``args`` of each process counts
    processes.

    Args:
        args: with the flags of ``common.distributed`` and ``multiprocessing_distributed``,
            ``processes_per_node``.
        work: a function of a module, not of a script. more: what it takes besides.

    Raises :class:`UserError` when a process ends before its work is done.
    """
    if not args.multiprocessing_distributed:
        return work(args, *more)
    nodes, node = args.world_size or 1, args.rank or 0
    count = args.processes_per_node
    if count is None:
        count = max(1, torch.cuda.device_count())
    if nodes < 1 or not 0 <= node < nodes:
        raise UserError(f"--rank is {node} of --world_size {nodes} nodes; give a rank from 0 on")
    if count < 1:
        raise UserError(f"--processes_per_node is {count}; give 1 or more")
    check_gpus(args.device, count)
    if args.dist_url is None and nodes > 1:
        raise UserError("several nodes need --dist_url tcp://HOST:PORT, the address of rank 0")
    args = copy.copy(args)
    args.world_size = nodes * count
    args.dist_url = args.dist_url or _free_address()
    jobs = multiprocessing.start_processes(
        _process, (args, node * count, count, work, more), count, join=False, start_method="spawn"
    )
    try:
        while not jobs.join():
            pass
    except multiprocessing.ProcessExitedException as error:
        raise UserError(
            f"process {node * count + error.error_index} of {args.world_size} ended before its "
            "work was done, and the others with it; start again to go on from the last saved state"
        ) from None


def _process(
    index: int,
    args: argparse.Namespace,
    first_rank: int,
    count: int,
    work: Callable[..., None],
    more: tuple[Any, ...],
) -> None:
    args.rank = first_rank + index
    if not torch.cuda.is_available():
        threads = max(1, torch.get_num_threads() // count)
        torch.set_num_threads(threads)
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    status = command_line(lambda _: work(args, *more))()
    sys.stdout.flush()
    sys.stderr.flush()
    if status:
        os._exit(status)  # without waiting for those that are lost


def _free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"
