"""IDX files, the format of MNIST and Fashion-MNIST."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np

from common.errors import UserError
from datasets.real import open_packed

MOST = 100_000_000
"""Bytes; the largest known file, of 60 000 images, has 47 040 016."""

_UNSIGNED_BYTE = 0x08


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not; returns a uint8 array of the header's
    shape.

    Raises :class:`UserError` when the file is cut off, larger than ``MOST``, or not an IDX file of
    bytes.
    """
    path = Path(path)
    try:
        with open_packed(path) as file:
            content = file.read(MOST + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a whole gzip file ({error}); get it again") from error
    if len(content) > MOST:
        raise UserError(f"{path}: holds more than {MOST} bytes; get it again")
    header = 4 + 4 * content[3] if len(content) >= 4 else 4
    if len(content) < header or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise UserError(f"{path}: not an IDX file of unsigned bytes; get it again")
    shape = np.frombuffer(content[4:header], dtype=">u4").tolist()
    values = np.frombuffer(content, dtype=np.uint8)[header:]
    if len(values) != math.prod(shape):
        raise UserError(f"{path}: the header promises {shape} bytes, others follow; get it again")
    return values.reshape(shape)
