"""Omniglot: handwritten characters of 50 alphabets, 20 drawings each, in Vinyals' splits.

A class is a character in one of four rotations, as in Vinyals et al. (2016). Images are as in
Snell et al. (2017): the 1-bit drawing rotated, resized to 28 x 28 by nearest neighbour, 1 = ink.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from common.errors import UserError
from common.files import atomic_path, sha256_of
from common.paths import DATA_FILES
from datasets.choices import DATA_CHOICES, Data, check_choice
from datasets.omniglot_standin import EMBEDDED_STROKES, stroke_characters
from datasets.real import RemoteFile, locate

SPLITS = ("train", "val", "trainval", "test")
CLASSES = {"train": 4112, "val": 688, "trainval": 4800, "test": 1692}
"""Of the splits: characters in four rotations."""

DRAWINGS = 20
"""Of every character, each by another person."""

SIDE = 28
ROTATIONS = (0, 90, 180, 270)
"""Degrees, anticlockwise."""

_log = logging.getLogger(__name__)
_SCAN = 105  # pixels of a drawing's side
_PLACES = ((np.arange(SIDE) + 0.5) * _SCAN / SIDE).astype(int)  # rows and columns that are kept
_MEMBER = re.compile(r"(?:.*/)?images_\w+/([^/]+/character\d+)/\d+_(\d+)\.png")
_LINE = re.compile(r"([^/]+/character\d+)/rot(000|090|180|270)")
_ZIP_HOME = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_SPLIT_HOME = (
    "https://raw.githubusercontent.com/jakesnell/prototypical-networks/"
    "c9bb4d258267c11cb6e23f0a19242d24ca98ad8a/data/omniglot/splits/vinyals/"
)
_AUTHORS_MD5 = ("68d2efa1b9178cc56df9314c21c6e718", "6b91aef0f799c5bb55b94e3f2daec811")


def _is_the_authors(path: Path) -> bool:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() in _AUTHORS_MD5


_ZIPS = tuple(
    RemoteFile(f"omniglot/images_{name}.zip", sha256, (_ZIP_HOME,), _is_the_authors)
    for name, sha256 in (
        ("background", "512b4a2b61ff1c7d09db743d05d12aedc2a5f38192fa40d63fd91f0fc1504c88"),
        ("evaluation", "98893e98e6c7ac15783039de81205741dffe6bb4ac1e1f0c5568f6889e7e523c"),
    )
)
_SPLITS = {
    name: RemoteFile(f"omniglot/splits/vinyals/{name}.txt", sha256, (_SPLIT_HOME,))
    for name, sha256 in (
        ("train", "984522c194c30fb678ce53304a160a42faf5403ad4f9a67010f32dd3a35738e0"),
        ("val", "11f99e54faee3e26f53d3231c1cceac5bf7b8730e9be31cb6dab256551dc0c1a"),
        ("trainval", "5276ae50c755596d0bff7f2284e85625695549a85ee6e36b6491ad1e5d1cc26a"),
        ("test", "845264cc5c156180828ccf17915668b17ee21424d0170df6e7d81676aa5d1204"),
    )
}


class Characters(NamedTuple):
    """Classes of drawings.

    Attributes:
        images: (C, 20, 28, 28) uint8, 1 = ink.
        names: (C,) as in the splits, ``ALPHABET/characterNN/rotDDD``.
        source: what they really are.
    """

    images: Tensor
    names: tuple[str, ...]
    source: str


def load_omniglot(
    split: str, data: Data = "auto", exchange_axes: bool = False, folder: Path | None = None
) -> Characters:
    """The classes of a split: "train" 4 112, "val" 688, "trainval" (both), "test" 1 692.

    ``data="embedded"``: 150 procedural stroke characters, see ``datasets.omniglot_standin``.
    ``"auto"``: Omniglot where it can be had, else the strokes, with a warning in the log.

    Args:
        exchange_axes: rows and columns are exchanged, as in the images that the published
            networks were trained on.
        folder: where the files lie that are not in ``$SNN_DATA``, and where they are downloaded to;
            default ``datasets/files/``.

    Raises :class:`UserError` for ``"real"`` when Omniglot is neither there nor to be downloaded,
    and for damaged files.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    stand_in = "using procedural stroke characters instead of Omniglot"
    if data == "embedded":
        _log.warning(stand_in)
        characters = _embedded(split)
    else:
        try:
            characters = _real(split, folder)
        except UserError as error:
            if data == "real":
                raise UserError(f"{error}, or give --data embedded for a small stand-in") from error
            _log.warning("%s: %s", stand_in, error)
            characters = _embedded(split)
    if exchange_axes:
        characters = characters._replace(images=characters.images.mT.contiguous())
    return characters


def _real(split: str, folder: Path | None) -> Characters:
    drawings = _cached_drawings([locate(file, folder) for file in _ZIPS])
    classes = read_split(locate(_SPLITS[split], folder))
    if len(classes) != CLASSES[split]:
        raise UserError(
            f"the split {split} has {len(classes)} classes instead of {CLASSES[split]}; "
            "get its file again"
        )
    return select_classes(drawings, classes, "Omniglot")


def _cached_drawings(zips: Sequence[Path]) -> dict[str, np.ndarray]:
    """:func:`read_drawings` of the zip files, kept as bits below ``datasets/files/``."""
    cache = DATA_FILES / "omniglot" / "images_28.npz"
    sums = [sha256_of(path) for path in zips]
    try:
        with np.load(cache) as kept:
            if kept["sums"].tolist() == sums:
                bits = np.unpackbits(kept["bits"], axis=1)
                images = bits.reshape(len(bits), DRAWINGS, SIDE, SIDE)
                return dict(zip(kept["names"].tolist(), images, strict=True))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        pass  # not there or damaged: made again
    drawings = {}
    for path in zips:
        drawings.update(read_drawings(path))
    bits = np.packbits(np.stack(list(drawings.values())).reshape(len(drawings), -1), axis=1)
    kept = {"bits": bits, "names": np.array(list(drawings)), "sums": np.array(sums)}
    with contextlib.suppress(OSError), atomic_path(cache) as path, open(path, "wb") as file:
        np.savez_compressed(file, **kept)
    return drawings


def _embedded(split: str) -> Characters:
    drawings, parts = stroke_characters()
    classes = [(name, rotation) for name in parts[split] for rotation in ROTATIONS]
    return select_classes(drawings, classes, EMBEDDED_STROKES)


def select_classes(
    drawings: dict[str, np.ndarray], classes: Sequence[tuple[str, int]], source: str
) -> Characters:
    """The classes, (character, degrees), in the order given.

    Args:
        drawings: (20, 28, 28) uint8 of each character.

    Raises :class:`UserError` for a character that is not there.
    """
    images = np.empty((len(classes), DRAWINGS, SIDE, SIDE), np.uint8)
    for image, (character, degrees) in zip(images, classes, strict=True):
        if character not in drawings:
            raise UserError(
                f"the split names {character}, which the images lack; get the files again"
            )
        image[:] = np.rot90(drawings[character], degrees // 90, axes=(1, 2))
    names = tuple(f"{character}/rot{degrees:03}" for character, degrees in classes)
    return Characters(torch.from_numpy(images), names, source)


def read_split(path: Path) -> list[tuple[str, int]]:
    """The classes of a split's file, one ``ALPHABET/characterNN/rotDDD`` a line.

    Returns:
        (character, degrees) of each. Raises :class:`UserError` for another line.
    """
    classes = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split(), 1):
        match = _LINE.fullmatch(line)
        if not match:
            raise UserError(
                f"{path}, line {number}: {line!r} is no ALPHABET/characterNN/rotDDD; get it again"
            )
        classes.append((match[1], int(match[2])))
    return classes


def read_drawings(path: Path) -> dict[str, np.ndarray]:
    """The characters of a zip file, (20, 28, 28) uint8 each, 1 = ink, in the order of the drawers.

    Pixels are those of Pillow's nearest neighbour; resizing after rotating gives the same.
    Raises :class:`UserError` for a damaged file and characters that lack drawings.
    """
    found: dict[str, dict[int, np.ndarray]] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if match := _MEMBER.fullmatch(name):
                    image = _read_png(archive.read(name), f"{path}: {name}")
                    found.setdefault(match[1], {})[int(match[2])] = image
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: not a whole zip file ({error}); get it again") from error
    for character, images in found.items():
        if len(images) != DRAWINGS:
            raise UserError(
                f"{path}: {character} has {len(images)} drawings instead of {DRAWINGS}; "
                "get it again"
            )
    if not found:
        raise UserError(f"{path} holds no drawings; get it again")
    return {
        character: np.stack([images[drawer] for drawer in sorted(images)]).view(np.uint8)
        for character, images in found.items()
    }


def _read_png(content: bytes, where: str) -> np.ndarray:
    """A drawing (28, 28) bool, ink is True."""
    try:
        image = Image.open(io.BytesIO(content))
        scan = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UserError(f"{where} is not a whole PNG file ({error}); get it again") from error
    if image.mode != "1" or scan.shape != (_SCAN, _SCAN):
        raise UserError(f"{where} is not black and white of {_SCAN} x {_SCAN} pixels; get it again")
    return ~scan[_PLACES[:, None], _PLACES]
