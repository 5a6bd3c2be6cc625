"""Omniglot: handwritten characters of 50 alphabets, 20 drawings each, in Vinyals' splits.

A class is a character in one of four rotations, as in Vinyals et al. (2016). Images are as in
Snell et al. (2017): the 1-bit drawing rotated, resized to 28 x 28 by nearest neighbour, 1 = ink.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
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
from datasets.choices import DATA_CHOICES, Data, check_choice
from datasets.omniglot_standin import EMBEDDED_STROKES, stroke_characters
from datasets.real import RemoteFile, data_folder, locate_all, unless_embedded

SPLITS = ("train", "val", "trainval", "test")
CLASSES = {"train": 4112, "val": 688, "trainval": 4800, "test": 1692}
"""Of the splits: characters in four rotations."""

DRAWINGS = 20
"""Of every character, each by another person."""

SIDE = 28
ROTATIONS = (0, 90, 180, 270)
"""Degrees, anticlockwise."""

_SCAN = 105  # pixels of a drawing's side
_PNG_BYTES = 10_000  # of a drawing at most; they have some 250
_PLACES = ((np.arange(SIDE) + 0.5) * _SCAN / SIDE).astype(int)  # rows and columns that are kept
_MEMBER = re.compile(r"(?:.*/)?images_\w+/([^/]+/character\d+)/\d+_(\d+)\.png")
_LINE = re.compile(r"([^/]+/character\d+)/rot(000|090|180|270)")
_ZIP_HOMES = (
    "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
    "https://cdn.jsdelivr.net/gh/brendenlake/omniglot@master/python/",
)
_SPLIT_HOMES = (
    "https://raw.githubusercontent.com/jakesnell/prototypical-networks/"
    "c9bb4d258267c11cb6e23f0a19242d24ca98ad8a/data/omniglot/splits/vinyals/",
    "https://cdn.jsdelivr.net/gh/jakesnell/prototypical-networks@"
    "c9bb4d258267c11cb6e23f0a19242d24ca98ad8a/data/omniglot/splits/vinyals/",
)
_AUTHORS_MD5 = ("68d2efa1b9178cc56df9314c21c6e718", "6b91aef0f799c5bb55b94e3f2daec811")


def _is_known(content: str, path: Path) -> bool:
    """Whether a zip file is one of the authors', or holds PNG files with this SHA-256 of all."""
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if md5 in _AUTHORS_MD5:
        return True
    try:
        return content_sha256(path) == content
    except UserError:
        return False


def content_sha256(path: Path) -> str:
    """SHA-256 over names and bytes of the drawings in a zip file, however it was packed."""
    digest = hashlib.sha256()
    for (character, drawer), (_, content) in sorted(_members(path).items()):
        digest.update(f"{character} {drawer} {len(content)}\n".encode() + content)
    return digest.hexdigest()


_ZIPS = {
    name: RemoteFile(
        f"omniglot/images_{name}.zip", sha256, _ZIP_HOMES, functools.partial(_is_known, content)
    )
    for name, sha256, content in (
        (
            "background",
            "512b4a2b61ff1c7d09db743d05d12aedc2a5f38192fa40d63fd91f0fc1504c88",
            "77468fe8ec13cff9ee6fc0db061de1353a1c6f18a59f237a7d74a75e113d7f72",
        ),
        (
            "evaluation",
            "98893e98e6c7ac15783039de81205741dffe6bb4ac1e1f0c5568f6889e7e523c",
            "6697f64246d5c12c2cb2ca887c653d098c87072e39637c4b802ff4c5e284e741",
        ),
    )
}
_SPLITS = {
    name: RemoteFile(f"omniglot/splits/vinyals/{name}.txt", sha256, _SPLIT_HOMES)
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

    Raises :class:`datasets.real.AbsentError` for ``"real"`` when one of Omniglot's files is neither
    there nor to be downloaded, and :class:`UserError` when one, whichever the split, is damaged.
    """
    check_choice("data", data, DATA_CHOICES)
    check_choice("split", split, SPLITS)
    stand_in = "using procedural stroke characters instead of Omniglot"
    found = unless_embedded(lambda: omniglot_files(folder), data, stand_in)
    characters = _embedded(split) if found is None else _real(split, found)
    if exchange_axes:
        characters = characters._replace(images=characters.images.mT.contiguous())
    return characters


def omniglot_files(folder: Path | None = None) -> dict[str, Path]:
    """Checked files by name: the two zip files and those of all splits; raises as
    ``real.locate_all``."""
    files = {**_ZIPS, **_SPLITS}
    return dict(zip(files, locate_all(list(files.values()), folder), strict=True))


def _real(split: str, files: dict[str, Path]) -> Characters:
    drawings = _cached_drawings([files[name] for name in _ZIPS])
    classes = read_split(files[split])
    if len(classes) != CLASSES[split]:
        raise UserError(
            f"the split {split} has {len(classes)} classes instead of {CLASSES[split]}; "
            "get its file again"
        )
    return select_classes(drawings, classes, "Omniglot")


def _cached_drawings(zips: Sequence[Path]) -> dict[str, np.ndarray]:
    """:func:`read_drawings` of the zip files, kept as bits below ``datasets/files/``."""
    cache = data_folder() / "omniglot" / "images_28.npz"
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
    for (character, drawer), (name, content) in _members(path).items():
        image = _read_png(content, f"{path}: {name}")
        found.setdefault(character, {})[drawer] = image
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


def _members(path: Path) -> dict[tuple[str, int], tuple[str, bytes]]:
    """Name and bytes of the PNG files in a zip file by character and drawer."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if match := _MEMBER.fullmatch(member.filename):
                    name = member.filename
                    if member.file_size > _PNG_BYTES:
                        raise UserError(f"{path}: {name} is too large for a drawing; get it again")
                    found[match[1], int(match[2])] = name, archive.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: not a whole zip file ({error}); get it again") from error
    return found


def _read_png(content: bytes, where: str) -> np.ndarray:
    """A drawing (28, 28) bool, ink is True."""
    try:
        image = Image.open(io.BytesIO(content))
        sound = image.mode == "1" and image.size == (_SCAN, _SCAN)
        scan = np.asarray(image) if sound else None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UserError(f"{where} is not a whole PNG file ({error}); get it again") from error
    if scan is None:
        raise UserError(f"{where} is not black and white of {_SCAN} x {_SCAN} pixels; get it again")
    return ~scan[_PLACES[:, None], _PLACES]
