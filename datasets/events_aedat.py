"""AEDAT 3.1, the files of iniVation's and IBM's event cameras: packets of events after a header.

A text header of lines that begin with ``#`` ends with ``#!END-HEADER``. A packet has a header of
28 bytes (int16 type and source; int32 event size, timestamp offset and overflow, capacity, number
of events, number of valid ones), all little endian. A polarity event (type 1) has 8 bytes: int32
with, from the lowest bit on, validity (1 bit), polarity (1), y (15), x (15); int32 microseconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import UserError

POLARITY_EVENTS = 1

_VERSION = b"#!AER-DAT3.1"
_END = b"#!END-HEADER"
_PACKET = np.dtype(
    [
        ("type", "<i2"),
        ("source", "<i2"),
        ("size", "<i4"),
        ("offset", "<i4"),
        ("overflow", "<i4"),
        ("capacity", "<i4"),
        ("number", "<i4"),
        ("valid", "<i4"),
    ]
)
_EVENT = np.dtype([("data", "<u4"), ("time", "<i4")])


class CameraEvents(NamedTuple):
    """Valid polarity events in the order of the file: time (e,) in microseconds, x, y, polarity
    (0 darker, 1 brighter), int64 each."""

    times: np.ndarray
    x: np.ndarray
    y: np.ndarray
    polarity: np.ndarray


def read_aedat(path: Path) -> CameraEvents:
    """Read the polarity events of an AEDAT 3.1 file; packets of other events are passed over.

    Raises :class:`UserError` for another format and for a file that is cut off.
    """
    content = path.read_bytes()
    position = _header_end(content, path)
    times, data = [], []
    while position < len(content):
        if position + _PACKET.itemsize > len(content):
            raise UserError(f"{path} is cut off in the header of a packet; get it again")
        packet = np.frombuffer(content, _PACKET, 1, position)[0]
        position += _PACKET.itemsize
        size, number = int(packet["size"]), int(packet["number"])
        if size < 1 or number < 0 or position + size * number > len(content):
            raise UserError(f"{path} is damaged or cut off at byte {position}; get it again")
        if packet["type"] == POLARITY_EVENTS:
            if size != _EVENT.itemsize:
                raise UserError(f"{path}: polarity events have {size} bytes instead of 8")
            events = np.frombuffer(content, _EVENT, number, position)
            times.append(events["time"].astype(np.int64) + (int(packet["overflow"]) << 31))
            data.append(events["data"])
        position += size * number
    return _decode(np.concatenate([*times, _NO_TIMES]), np.concatenate([*data, _NO_DATA]))


_NO_TIMES, _NO_DATA = np.empty(0, np.int64), np.empty(0, np.uint32)


def _header_end(content: bytes, path: Path) -> int:
    """Where the first packet begins."""
    if not content.startswith(_VERSION):
        raise UserError(f"{path} is not an AEDAT 3.1 file; get it again")
    end = content.find(_END)
    newline = content.find(b"\n", end)
    if end < 0 or newline < 0:
        raise UserError(f"{path}: the header does not end; get it again")
    return newline + 1


def _decode(times: np.ndarray, data: np.ndarray) -> CameraEvents:
    valid = (data & 1).astype(bool)
    times, data = times[valid], data[valid].astype(np.int64)
    return CameraEvents(times, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1)
