import functools
import io
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from common.errors import UserError
from common.files import sha256_of
from datasets import omniglot, real
from datasets.omniglot import (
    CLASSES,
    DRAWINGS,
    SPLITS,
    load_omniglot,
    read_drawings,
    read_split,
    select_classes,
)
from datasets.omniglot_standin import stroke_characters

GIVEN = os.environ.get("SNN_DATA")
NAMES = ("Runes/character01", "Runes/character02", "Ogham/character01")


def scans(seed=0):
    """Drawings (105, 105) bool, paper is True, of three characters."""
    rng = np.random.default_rng(seed)
    return {name: rng.random((DRAWINGS, 105, 105)) < 0.8 for name in NAMES}


def png(scan, mode="1"):
    buffer = io.BytesIO()
    Image.fromarray(scan).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def zip_of(path, drawings, folder="images_background", changes=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}/", "")
        for name, images in drawings.items():
            for k, scan in reversed(list(enumerate(images))):
                member = f"{folder}/{name}/0709_{k + 1:02}.png"
                content = (changes or {}).get(member, scan)
                archive.writestr(member, content if isinstance(content, bytes) else png(content))
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """No data anywhere, and homes that do not answer."""
    monkeypatch.delenv("SNN_DATA", raising=False)
    monkeypatch.setattr(real, "DATA_FILES", tmp_path / "downloads")
    nowhere = ("http://127.0.0.1:9/",)
    for group in ("_ZIPS", "_SPLITS"):
        files = {k: file._replace(homes=nowhere) for k, file in getattr(omniglot, group).items()}
        monkeypatch.setattr(omniglot, group, files)


@pytest.fixture
def small(offline, tmp_path, monkeypatch):
    """Three characters in the places of Omniglot's files."""
    folder = tmp_path / "given"
    drawings = scans()
    parts = [{name: drawings[name] for name in NAMES[:2]}, {NAMES[2]: drawings[NAMES[2]]}]
    for (name, file), part in zip(omniglot._ZIPS.items(), parts, strict=True):
        path = zip_of(folder / file.path, part)
        same = functools.partial(omniglot._is_known, omniglot.content_sha256(path))
        monkeypatch.setitem(omniglot._ZIPS, name, file._replace(sha256=sha256_of(path), same=same))
    lines = "Runes/character02/rot000\nOgham/character01/rot270\n"
    for name, file in omniglot._SPLITS.items():
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(lines)
        monkeypatch.setitem(omniglot._SPLITS, name, file._replace(sha256=sha256_of(path)))
        monkeypatch.setitem(CLASSES, name, 2)
    monkeypatch.setenv("SNN_DATA", str(folder))
    return folder


def by_pillow(scan, degrees):
    """As prototypical networks do it: rotate, resize, invert."""
    image = Image.fromarray(scan).convert("1").rotate(degrees).resize((28, 28), Image.NEAREST)
    return 1 - np.asarray(image).astype(np.uint8)


def test_pixels_are_pillows_rotated_at_full_size():
    drawings = scans(3)
    small = {
        name: np.stack([by_pillow(scan, 0) for scan in images]) for name, images in drawings.items()
    }
    classes = [(name, degrees) for name in NAMES for degrees in (0, 90, 180, 270)]
    found = select_classes(small, classes, "test")
    assert found.images.dtype == torch.uint8
    for (name, degrees), images in zip(classes, found.images, strict=True):
        for scan, image in zip(drawings[name], images, strict=True):
            np.testing.assert_array_equal(image.numpy(), by_pillow(scan, degrees))


def test_drawings_of_a_zip(tmp_path):
    drawings = scans()
    found = read_drawings(zip_of(tmp_path / "a.zip", drawings))
    assert list(found) == list(NAMES)
    for name, images in found.items():
        assert images.dtype == np.uint8
        expected = np.stack([by_pillow(scan, 0) for scan in drawings[name]])
        np.testing.assert_array_equal(images, expected)


def test_a_split_is_loaded_from_given_files_and_kept(small, tmp_path):
    found = load_omniglot("test", "real")
    assert found.names == ("Runes/character02/rot000", "Ogham/character01/rot270")
    assert found.images.shape == (2, 20, 28, 28) and found.source == "Omniglot"
    drawings = scans()
    np.testing.assert_array_equal(found.images[0, 4], by_pillow(drawings[NAMES[1]][4], 0))
    np.testing.assert_array_equal(found.images[1, 19], by_pillow(drawings[NAMES[2]][19], 270))
    exchanged = load_omniglot("test", "real", exchange_axes=True)
    assert torch.equal(exchanged.images, found.images.transpose(2, 3))

    cache = tmp_path / "downloads/omniglot/images_28.npz"
    made = cache.stat().st_mtime_ns
    assert torch.equal(load_omniglot("test", "real").images, found.images)
    assert cache.stat().st_mtime_ns == made
    cache.write_bytes(cache.read_bytes()[:-100])
    assert torch.equal(load_omniglot("test", "real").images, found.images)
    assert torch.equal(load_omniglot("test", "real").images, found.images)


def test_another_folder(small, monkeypatch):
    monkeypatch.delenv("SNN_DATA")
    assert load_omniglot("test", "real", folder=small).images.shape == (2, 20, 28, 28)
    with pytest.raises(UserError, match="could not be downloaded"):
        load_omniglot("test", "real")


def test_what_is_kept_belongs_to_its_zip_files(small, monkeypatch):
    before = load_omniglot("test", "real").images
    file = omniglot._ZIPS["evaluation"]
    path = zip_of(small / file.path, {NAMES[2]: scans(8)[NAMES[2]]})
    with pytest.raises(UserError, match=r"images_evaluation.zip: SHA-256 is"):
        load_omniglot("test", "real")
    monkeypatch.setitem(omniglot._ZIPS, "evaluation", file._replace(sha256=sha256_of(path)))
    after = load_omniglot("test", "real").images
    assert torch.equal(after[0], before[0]) and not torch.equal(after[1], before[1])


def test_the_authors_zips_are_taken(small, monkeypatch):
    """Known by their MD5."""
    path = small / omniglot._ZIPS["background"].path
    zip_of(path, {name: scans(5)[name] for name in NAMES[:2]}, folder="x/images_background")
    with pytest.raises(UserError, match="SHA-256"):
        load_omniglot("test", "real")
    md5 = omniglot.hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setattr(omniglot, "_AUTHORS_MD5", (md5,))
    assert load_omniglot("test", "real").images.shape == (2, 20, 28, 28)


def test_the_same_drawings_packed_again_are_taken(small):
    path = small / omniglot._ZIPS["background"].path
    before = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(path, "w", 8) as new:
        for name in reversed(old.namelist()):
            new.writestr(name, old.read(name))
    assert path.read_bytes() != before
    assert load_omniglot("test", "auto").source == "Omniglot"


def test_a_drawing_that_unpacks_to_more_than_it_can_have(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", 8) as archive:
        archive.writestr(f"images_background/{NAMES[0]}/0709_01.png", bytes(10**6))
    with pytest.raises(UserError, match="is too large for a drawing"):
        read_drawings(path)


def test_missing_and_wrong_splits(small, monkeypatch):
    whole = (small / omniglot._SPLITS["val"].path).read_bytes()
    (small / omniglot._SPLITS["val"].path).unlink()
    for split in ("val", "test"):  # nothing of a data set that is not all there
        with pytest.raises(UserError, match=r"vinyals/val.txt could not be downloaded"):
            load_omniglot(split, "real")
        assert load_omniglot(split, "auto").source == "embedded strokes"
    (small / omniglot._SPLITS["val"].path).write_bytes(whole[:-9])
    for split in ("val", "test"):
        with pytest.raises(UserError, match=r"val\.txt: SHA-256 is .* cut off"):
            load_omniglot(split, "auto")
    (small / omniglot._SPLITS["val"].path).write_bytes(whole)
    monkeypatch.setitem(CLASSES, "test", 3)
    with pytest.raises(UserError, match="the split test has 2 classes instead of 3"):
        load_omniglot("test", "real")
    path = small / "lines.txt"
    path.write_text("Runes/character01/rot000\nRunes/character01/rot045\n")
    with pytest.raises(UserError, match=r"line 2: 'Runes/character01/rot045' is no ALPHABET"):
        read_split(path)
    with pytest.raises(UserError, match="names Runes/character09, which the images lack"):
        select_classes({}, [("Runes/character09", 0)], "test")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no image", "not a whole PNG file"),
        (png(np.ones((105, 105), bool))[:60], "not a whole PNG file"),
        (png(np.ones((104, 105), bool)), "not black and white of 105 x 105"),
        (png(np.ones((105, 105), bool), "L"), "not black and white of 105 x 105"),
    ],
)
def test_a_bad_drawing_is_named(content, says, tmp_path):
    member = f"images_background/{NAMES[1]}/0709_07.png"
    path = zip_of(tmp_path / "a.zip", scans(), changes={member: content})
    with pytest.raises(UserError, match=rf"a\.zip: {member}.*{says}"):
        read_drawings(path)


def test_damaged_zips(tmp_path):
    path = zip_of(tmp_path / "a.zip", scans())
    whole = path.read_bytes()
    for content in (whole[:-40], b"", whole[:500] + bytes(20) + whole[520:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.zip.* get it again"):
            read_drawings(path)
    zip_of(path, {NAMES[0]: scans()[NAMES[0]][:19]})
    with pytest.raises(UserError, match="Runes/character01 has 19 drawings instead of 20"):
        read_drawings(path)
    zip_of(path, {})
    with pytest.raises(UserError, match="holds no drawings"):
        read_drawings(path)


def test_strokes_stand_in(offline, caplog):
    with pytest.raises(UserError, match=r"could not be downloaded .* or give --data embedded"):
        load_omniglot("test", "real")
    found = load_omniglot("test", "auto")
    assert found.source == "embedded strokes" and "instead of Omniglot" in caplog.text
    with pytest.raises(UserError, match="unknown split 'all'"):
        load_omniglot("all")
    with pytest.raises(UserError, match="unknown data 'fake'"):
        load_omniglot("val", "fake")
    for split, count in {"train": 400, "val": 80, "trainval": 480, "test": 120}.items():
        characters = load_omniglot(split, "embedded")
        assert characters.images.shape == (count, 20, 28, 28)
        assert set(characters.images.unique().tolist()) == {0, 1}
        assert len(set(characters.names)) == count
    assert not set(characters.names) & set(load_omniglot("trainval", "embedded").names)


def test_strokes_repeat_and_vary():
    drawings, _ = stroke_characters(4)
    again, _ = stroke_characters(4)
    other, _ = stroke_characters(5)
    for name, images in drawings.items():
        np.testing.assert_array_equal(images, again[name])
        assert len(np.unique(images, axis=0)) > 15 and images.sum(axis=(1, 2)).min() > 10
    assert any((other[name] != images).any() for name, images in drawings.items())
    # Drawings are nearer to others of their character than to most others.
    stack = np.stack(list(drawings.values())).reshape(150, 20, -1).astype(float)
    means = stack[:, 1:].mean(1)
    found = ((stack[:, 0, None] - means) ** 2).sum(2).argmin(1)
    assert (found == np.arange(150)).mean() > 0.9


@pytest.mark.skipif(not GIVEN, reason="SNN_DATA is not set")
def test_real_splits_where_there_are_any():
    found = {split: load_omniglot(split, "real") for split in SPLITS}
    for split, characters in found.items():
        assert characters.images.shape == (CLASSES[split], 20, 28, 28)
        assert len(set(characters.names)) == CLASSES[split]
    names = {split: set(characters.names) for split, characters in found.items()}
    assert names["trainval"] == names["train"] | names["val"]
    assert not names["trainval"] & names["test"]
    assert len(names["trainval"] | names["test"]) == 1623 * 4
    images = found["test"].images
    assert 0.05 < images.float().mean() < 0.12, "ink is 1"
    quarter = [found["test"].names[k].endswith("rot090") for k in range(4)]
    assert quarter == [False, True, False, False]
    assert torch.equal(images[1], images[0].rot90(1, (1, 2)))
