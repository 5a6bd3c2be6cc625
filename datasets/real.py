"""Data sets that others recorded: found on disk or downloaded, checked, and loaded.

A file is looked for in ``$SNN_DATA`` (never written to), then in ``datasets/files/``, and is then
downloaded there from its official home or a mirror; wherever it comes from, its checksum is
verified.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pooch
import requests
import torch
from torch.nn.functional import interpolate

from common.errors import UserError
from common.paths import DATA_FILES
from datasets.choices import DATA_CHOICES, EMBEDDED_DIGITS, Data, check_choice
from datasets.idx import read_idx

SPLITS = ("train", "test")

T = TypeVar("T")

_log = logging.getLogger(__name__)
_EMBEDDED_TEST = 300
_TIMEOUT = 20  # seconds without an answer of a server

_MNIST_HOMES = (
    "http://yann.lecun.com/exdb/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION_HOMES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
)
_MNIST_SHA256 = {
    "train-images-idx3": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_FASHION_SHA256 = {
    "train-images-idx3": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}


class LabelledImages(NamedTuple):
    """``images`` (N, 28, 28) uint8, ``labels`` (N,) int64, and ``source``, what they really are."""

    images: torch.Tensor
    labels: torch.Tensor
    source: str


class RemoteFile(NamedTuple):
    """A file that others publish.

    Attributes:
        path: below a data folder, ``mnist/...gz``.
        sha256: of the file; or "md5:" and its MD5, where that alone is published.
        homes: addresses of folders that hold it, ending in ``/``, or of the file itself.
        same: whether a file with another SHA-256 holds the same data, such as an archive that was
            packed again.
        page: where one gets it by hand.
    """

    path: str
    sha256: str
    homes: tuple[str, ...]
    same: Callable[[Path], bool] | None = None
    page: str = ""


def locate(file: RemoteFile, downloads: Path | None = None) -> Path:
    """The path of a checked copy of ``file``: in ``$SNN_DATA``, or in ``downloads`` (default
    ``datasets/files/``), where it is downloaded if need be.

    Raises :class:`UserError` when a copy has another checksum or no home can be reached.
    """
    downloads = downloads or DATA_FILES
    path = find_file(file.path, downloads)
    if path is None:
        return _download(file, downloads)
    if not _holds(path, file):
        advice = "replace it or unset SNN_DATA"
        if path == downloads / file.path:
            advice = "delete it, it is then downloaded again"
        kind, wanted = _checksum(file)
        raise UserError(
            f"{path}: {kind} is {_digest(path, kind)[:12]}... instead of {wanted[:12]}... "
            f"(damaged, cut off or another file); {advice}"
        )
    return path


def find_file(path: str, downloads: Path | None = None) -> Path | None:
    """Where ``path`` lies, unchecked: in ``$SNN_DATA``, else in ``downloads`` (default
    ``datasets/files/``); None where in neither.

    Raises :class:`UserError` when ``$SNN_DATA`` is not a folder.
    """
    given = os.environ.get("SNN_DATA")
    if given and not Path(given).is_dir():
        raise UserError(f"SNN_DATA is {given}, which is not a folder; correct it or unset it")
    folders = [Path(given)] if given else []
    places = [folder / path for folder in (*folders, downloads or DATA_FILES)]
    return next((place for place in places if place.is_file()), None)


def _checksum(file: RemoteFile) -> tuple[str, str]:
    """Kind and digits of a file's published checksum."""
    if file.sha256.startswith("md5:"):
        return "MD5", file.sha256.removeprefix("md5:")
    return "SHA-256", file.sha256


def _digest(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind.replace("-", "").lower()).hexdigest()


def _holds(path: Path, file: RemoteFile) -> bool:
    kind, wanted = _checksum(file)
    return _digest(path, kind) == wanted or bool(file.same and file.same(path))


def _download(file: RemoteFile, downloads: Path) -> Path:
    target = downloads / file.path
    pooch.get_logger().setLevel("WARNING")
    fetch = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=_TIMEOUT)
    reasons = []
    for home in file.homes:
        try:
            pooch.retrieve(
                home + target.name if home.endswith("/") else home,
                known_hash=None if file.same else file.sha256,  # "sha256:" is pooch's default
                fname=target.name,
                path=target.parent,
                downloader=fetch,
            )
            if file.same and not _holds(target, file):
                target.unlink()
                raise ValueError
            return target
        except (requests.RequestException, ValueError) as error:
            # pooch reports a wrong checksum as ValueError; a cut-off download ends there, too.
            wrong = "wrong checksum" if isinstance(error, ValueError) else type(error).__name__
            reasons.append(f"{home}: {wrong}")
    tried = f"could not be downloaded ({'; '.join(reasons)}); connect to the network, "
    page = f"get it from {file.page} and " if file.page else ""
    raise UserError(
        f"{file.path} {tried if reasons else 'is not there and nobody serves it; '}{page}"
        f"put it at {target}, or set SNN_DATA to a folder that holds {file.path}"
    )


def unless_embedded(get: Callable[[], T], data: Data, stand_in: str) -> T | None:
    """What ``get`` gives; None where a stand-in is to be used, with a warning in the log.

    Args:
        get: raises :class:`UserError` when it cannot be had.
        data: "embedded": None at once; "auto": None when it cannot be had; "real": never None.
        stand_in: the warning, "using ... instead of ...".

    Raises :class:`UserError` for "real" when it cannot be had.
    """
    if data == "embedded":
        _log.warning(stand_in)
        return None
    try:
        return get()
    except UserError as error:
        if data == "real":
            raise UserError(f"{error}, or give --data embedded for a small stand-in") from error
        _log.warning("%s: %s", stand_in, error)
        return None


def _load_idx_pair(
    folder: str, sums: dict[str, str], homes: tuple[str, ...], split: str
) -> tuple[torch.Tensor, torch.Tensor]:
    prefix = "train" if split == "train" else "t10k"
    arrays = []
    for what in (f"{prefix}-images-idx3", f"{prefix}-labels-idx1"):
        path = locate(RemoteFile(f"{folder}/{what}-ubyte.gz", sums[what], homes))
        arrays.append(read_idx(path))
    images, labels = arrays
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def _embedded_digits(split: str) -> LabelledImages:
    from sklearn.datasets import load_digits  # slow to import and rarely needed

    digits = load_digits()
    coarse = torch.from_numpy(digits.images * 255 / 16)[:, None]
    images = interpolate(coarse, size=(28, 28), mode="bilinear", align_corners=False)
    images = images[:, 0].round().to(torch.uint8)
    labels = torch.from_numpy(digits.target.astype(np.int64))
    part = slice(None, -_EMBEDDED_TEST) if split == "train" else slice(-_EMBEDDED_TEST, None)
    return LabelledImages(images[part], labels[part], EMBEDDED_DIGITS)


def load_mnist(split: str, data: Data = "auto") -> LabelledImages:
    """MNIST (60 000 "train", 10 000 "test" images, byte 0 = paper, 255 = ink).

    ``data="embedded"``: scikit-learn's 1 797 digits of 8 x 8 pixels, bytes = value * 255 / 16,
    enlarged bilinearly, the last 300 for testing. ``"auto"``: MNIST where it can be had, else the
    embedded digits, with a warning in the log. ``source`` says which ("MNIST", "embedded digits").
    Raises :class:`UserError` for ``"real"`` when MNIST is neither there nor to be downloaded.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    pair = unless_embedded(
        lambda: _load_idx_pair("mnist", _MNIST_SHA256, _MNIST_HOMES, split),
        data,
        "using the embedded 8 x 8 digits of scikit-learn instead of MNIST",
    )
    return _embedded_digits(split) if pair is None else LabelledImages(*pair, "MNIST")


def load_fashion_mnist(split: str, data: Data = "auto") -> LabelledImages:
    """Fashion-MNIST (60 000 "train", 10 000 "test" images of clothing, 10 classes).

    There is no embedded stand-in: raises :class:`UserError` for ``data="embedded"`` and when the
    files are neither there nor to be downloaded.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    if data == "embedded":
        raise UserError(
            "Fashion-MNIST has no embedded stand-in; set SNN_DATA to a folder that holds "
            f"fashion_mnist/, or connect to the network for a download to {DATA_FILES}"
        )
    pair = _load_idx_pair("fashion_mnist", _FASHION_SHA256, _FASHION_HOMES, split)
    return LabelledImages(*pair, "Fashion-MNIST")
