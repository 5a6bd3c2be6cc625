"""What a training on a GPU asks for besides tensors on it: Triton, exact products, no waits."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import torch
from torch import Tensor

from common.errors import UserError


def exact_products() -> None:
    """Products and convolutions on GPUs keep all bits of float32.

    By default cuDNN rounds what it convolves to 10 bits (TF32), which moves spikes: of a converted
    encoder four in ten. Nothing changes on a CPU.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on a device; the host does not wait until it is there."""
    if device.type != "cuda" or x.device.type == "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


def why_no_triton() -> str | None:
    """Why Triton's kernels cannot run here, None where they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (it comes with PyTorch's CUDA builds for Linux)"
    if os.environ.get("TRITON_INTERPRET") == "1":
        return None
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "Triton finds no C compiler; install gcc"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "Triton finds no Python.h; install Python's headers (python3-dev)"
    return None


def backend_on_gpu(wanted: str) -> str:
    """``cuda``, or for ``auto`` the slow ``reference`` where Triton cannot run, and one line that
    says so.

    Raises :class:`UserError` where ``cuda`` is wanted and cannot run.
    """
    reason = why_no_triton()
    if reason is None:
        return "cuda"
    if wanted == "cuda":
        raise UserError(f"the backend cuda cannot run: {reason}; use the backend reference")
    _say_once(f"{reason}: plain PyTorch loops run instead, which are many times slower")
    return "reference"


@functools.cache
def _say_once(line: str) -> None:
    print(line, file=sys.stderr)
