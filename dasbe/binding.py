"""The whole model in one call: images in, groups out."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.checkpoints import Checkpoint, load_checkpoint, load_into
from common.errors import UserError
from common.memory import check_memory
from common.paths import CHECKPOINTS
from common.runs import find_network
from common.settings import from_dict
from dasbe.config import Settings
from dasbe.dynamics import Pixels, StatefulNetwork, scatter_pixels, simulate
from dasbe.grouping import group_pixels
from dasbe.networks import CallableNetwork, Network, build_network

CHUNK = 100
"""Images that are simulated together; a fixed number, so that results do not depend on how many
images follow."""

READ_ITERATIONS = 10
"""Iterations at the end from whose spikes the groups are read."""

MODEL = "dasbe"

DEVICE = "cpu"
"""For ``--device auto``: the loop is compiled for CPUs alone; on a GPU it is many small kernels."""


@dataclass(frozen=True)
class Binding:
    """What :func:`bind` found.

    Attributes:
        groups: (B, H, W) int64 labels; 0 is the group of the pixels that are off.
        spikes: (B, keep_iterations, T, H, W) uint8, the spikes of the last iterations.
    """

    groups: Tensor
    spikes: Tensor


@dataclass(frozen=True)
class TrainedNetwork:
    """A network from a checkpoint, with the settings it was trained with and the file's hash."""

    network: Network
    settings: Settings
    checkpoint: Checkpoint


def load_network(
    name: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> TrainedNetwork:
    """Load a shipped network by name (``"shapes"``), or any by the path of its checkpoint.

    Raises :class:`UserError` when there is none, or when the file is damaged or another model's.
    """
    path = find_network(MODEL, name, CHECKPOINTS)
    checkpoint = load_checkpoint(path, model=MODEL)
    settings = from_dict(Settings, checkpoint.metadata.get("settings"), str(path))
    network = build_network(settings.network, settings.height * settings.width)
    load_into(network, checkpoint)
    return TrainedNetwork(network.to(device).eval().requires_grad_(False), settings, checkpoint)


def bind(
    images: Tensor | np.ndarray,
    network: str | os.PathLike[str] | StatefulNetwork | Callable[[Tensor], tuple[Tensor, Any]],
    window: int,
    refractory: int,
    iterations: int = 50,
    n_groups: int | None = None,
    seed: int = 0,
    keep_iterations: int = 10,
) -> Binding:
    """Bind the pixels of each object by synchronous firing and read the groups.

    Args:
        images: (B, H, W) or one (H, W), every value 0 or 1, at least one pixel on in each.
        network: the name of a shipped network, or the path of a checkpoint or of a run's folder; or
            a stateless function from coincidences (M, H*W) float, M = images x window, image-major,
            to ``(output (M, H*W), code)``; or an object with ``encode``, ``step`` and ``decode``,
            as :class:`dasbe.dynamics.StatefulNetwork` describes them.
        window: phases T of an iteration (the "cortical delay"), steps.
        refractory: R, steps; two spikes of a pixel are at least R + 1 steps apart.
        iterations: N.
        n_groups: number of groups K, background included; None takes that of the shipped network.
        seed: names all random numbers; an image's depend on it and on its place in the batch only.
        keep_iterations: iterations at the end whose spikes are returned. The groups are those of
            the last 10 iterations in any case.

    Returns:
        :class:`Binding` with ``groups`` (B, H, W) and ``spikes`` (B, keep_iterations, T, H, W), on
        the CPU. The work is done on the images' device.

    Raises:
        UserError: for images that are not 0 or 1, empty, or of another size than the network's;
            for an unknown network, and one that gives NaN; for numbers out of range; where
            n_groups is needed; in a process that was forked from one that had called this function:
            the kernels' threads stay behind. Data loaders and pools whose workers bind must start
            them by "spawn" (``multiprocessing.get_context("spawn")``,
            ``DataLoader(..., multiprocessing_context="spawn")``).

    Source: paper, sections 3 and 4.1; k-means with 10 restarts.
    """
    _check_fork()
    images = _checked_images(images)
    whole = _whole_numbers(
        window=window,
        refractory=refractory,
        iterations=iterations,
        keep_iterations=keep_iterations,
        seed=seed,
    )
    window, refractory, iterations, keep_iterations, seed = whole
    if isinstance(network, str | os.PathLike):
        trained = load_network(network, images.device)
        check_size(images, trained.settings, network)
        n_groups = trained.settings.n_groups if n_groups is None else n_groups
        network = trained.network
    elif not isinstance(network, StatefulNetwork):
        network = CallableNetwork(network)
    if getattr(network, "n_pixels", images[0].numel()) != images[0].numel():
        raise UserError(
            f"the images have {images.shape[1]} x {images.shape[2]} pixels, the network is for "
            f"{network.n_pixels}; choose another network or scale the images"
        )
    if n_groups is not None:
        (n_groups,) = _whole_numbers(n_groups=n_groups)
    if n_groups is None or not 1 <= n_groups <= images[0].numel():
        raise UserError(
            f"n_groups is {n_groups}; give the number of groups, background included "
            "(None only works with a shipped network's name)"
        )
    batch, (height, width) = len(images), images.shape[1:]
    check_memory(
        {
            "window": 12.0 * window * min(batch, CHUNK) * int(images.count_nonzero((1, 2)).max()),
            "keep_iterations": 1.0 * keep_iterations * window * images.numel(),
        }
    )
    groups = torch.empty(batch, height, width, dtype=torch.int64)
    spikes = torch.empty(batch, keep_iterations, window, height, width, dtype=torch.uint8)
    needed = max(keep_iterations, min(READ_ITERATIONS, iterations))
    for indices, kept, pixels in simulate_in_chunks(
        images, network, window, refractory, iterations, seed, needed
    ):
        read = kept[:, -READ_ITERATIONS:].flatten(1, 2)
        labels = group_pixels(read, pixels, n_groups, seed, indices)
        groups[indices] = torch.from_numpy(labels).view(-1, height, width)
        full = scatter_pixels(kept[:, -keep_iterations:], pixels)
        spikes[indices] = full.view(*full.shape[:-1], height, width).cpu()
    return Binding(groups, spikes)


def simulate_in_chunks(
    images: Tensor,
    network: StatefulNetwork,
    window: int,
    refractory: int,
    iterations: int,
    seed: int,
    keep_iterations: int = 10,
    first_index: int = 0,
) -> Iterator[tuple[np.ndarray, Tensor, Pixels]]:
    """Simulate many images, ``CHUNK`` at a time (arguments as for :func:`dasbe.dynamics.simulate`).

    Yields:
        the chunk's image indices (counted from ``first_index``), its spikes
        (b, keep_iterations, T, P) and the pixels they belong to.
    """
    for begin in range(0, len(images), CHUNK):
        chunk = images[begin : begin + CHUNK]
        indices = np.arange(begin, begin + len(chunk)) + first_index
        spikes, pixels = simulate(
            chunk, network, window, refractory, iterations, seed, indices, keep_iterations
        )
        yield indices, spikes, pixels


def check_size(images: Tensor, settings: Settings, name: str) -> None:
    """Raise :class:`UserError` unless the images have the network's size."""
    if tuple(images.shape[-2:]) != (settings.height, settings.width):
        raise UserError(
            f"the images have {images.shape[-2]} x {images.shape[-1]} pixels, the network {name!r} "
            f"was trained on {settings.height} x {settings.width}; choose another network or scale"
        )


_bound_in: list[int] = []
"""The process that has used compiled kernels here, and so has their threads."""


def _check_fork() -> None:
    """Raise :class:`UserError` in a child that was forked from a process that has bound before."""
    if not _bound_in:
        _bound_in.append(os.getpid())
    if _bound_in != [os.getpid()]:
        raise UserError(
            "this process was forked from one that has called dasbe.bind, whose threads it lacks; "
            "start it with multiprocessing's method 'spawn' or 'forkserver', or bind in the "
            "children only"
        )


def _checked_images(images: Tensor | np.ndarray) -> Tensor:
    if isinstance(images, Tensor):
        images = images.detach()
    else:  # of any strides and byte order
        try:
            images = torch.from_numpy(np.array(images, dtype=np.float64))
        except (TypeError, ValueError):
            raise UserError("the images must be an array or tensor of numbers 0 and 1") from None
    images = images[None] if images.dim() == 2 else images
    if images.dim() != 3 or images.numel() == 0:
        raise UserError(
            f"images must have the shape (B, H, W) or (H, W), not {tuple(images.shape)}"
        )
    if images.is_floating_point() and not torch.isfinite(images).all():
        raise UserError("the images hold NaN or infinite values; every pixel must be 0 or 1")
    if not ((images == 0) | (images == 1)).all():
        raise UserError("the images hold values other than 0 and 1; threshold them first")
    empty = (images == 0).flatten(1).all(dim=1).nonzero()
    if len(empty):
        raise UserError(f"image {int(empty[0])} is empty: no pixel is on, so nothing can be bound")
    return images.float()


MOST_ITERATIONS = 1_000_000
LIMITS = {
    "window": (1, 2**31 - 1),
    "refractory": (0, 2**31 - 1),
    "iterations": (1, MOST_ITERATIONS),
    "keep_iterations": (1, MOST_ITERATIONS),
    "n_groups": (1, 2**31 - 1),
    "seed": (-(2**63), 2**64 - 1),
}
"""Of the numbers that :func:`bind` takes."""


def _whole_numbers(**given: Any) -> tuple[int, ...]:
    """The numbers as Python's integers, whatever kind of integer they are.

    Raises :class:`UserError` for what is not whole or out of :data:`LIMITS`.
    """
    whole = {}
    for name, value in given.items():
        low, high = LIMITS[name]
        try:
            whole[name] = operator.index(value)
        except TypeError:
            raise UserError(f"{name} is {value}; it must be a whole number") from None
        if whole[name] < low:
            raise UserError(f"{name} is {value}; it must be at least {low}")
        if whole[name] > high:
            raise UserError(f"{name} is {value}; it must be at most {high}")
    if whole.get("keep_iterations", 0) > whole.get("iterations", 1):
        raise UserError(
            f"keep_iterations is {whole['keep_iterations']}, more than the {whole['iterations']} "
            "iterations there are"
        )
    return tuple(whole.values())
