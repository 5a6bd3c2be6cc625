import re

import h5py
import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets.binding import (
    BindingDataset,
    group_size,
    read_group,
    read_positions,
    source_of,
    split_range,
)
from datasets.catalogue import find
from datasets.generate import ensure
from datasets.hdf5 import take
from datasets.mt19937 import new_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("files")
    ensure("shapes", {"train_multi": 250, "test": 7}, ["train_multi", "test"], path)
    ensure("moving_shapes_3", 2, ["train_multi"], path)
    ensure("shapes_with_pos", 30, ["train_single_2"], path)
    return path


@pytest.fixture(scope="module")
def drawn():
    """The first 250 images and labels of shapes, straight from the generator."""
    dataset = find("shapes")
    batches = take(dataset.draw(new_state(dataset.seed), None), {"train_multi": 250})
    ((_, batch),) = batches
    return batch.arrays["default"], batch.arrays["groups"]


def same(images, drawn, wanted):
    assert images.images.dtype == torch.float32 and images.groups.dtype == torch.uint8
    np.testing.assert_array_equal(images.images.numpy(), drawn[0][wanted])
    np.testing.assert_array_equal(images.groups.numpy(), drawn[1][wanted])


def test_slices_and_splits(folder, drawn):
    same(read_group("shapes", "train_multi", folder=folder), drawn, slice(None))
    part = read_group("shapes", "train_multi", start=95, count=120, folder=folder)
    same(part, drawn, slice(95, 215))
    same(read_group("shapes", "train_multi", "train", folder=folder), drawn, slice(225))
    same(read_group("shapes", "train_multi", "validation", folder=folder), drawn, slice(225, None))
    part = read_group("shapes", "train_multi", "validation", start=20, folder=folder)
    same(part, drawn, slice(245, None))
    assert len(read_group("shapes", "train_multi", count=0, folder=folder).images) == 0


def test_indices_in_any_order_and_repeated(folder, drawn):
    wanted = [249, 3, 120, 3, 0, 199, 200]
    for indices in (wanted, np.array(wanted), torch.tensor(wanted)):
        part = read_group("shapes", "train_multi", indices=indices, folder=folder)
        same(part, drawn, wanted)
    part = read_group("shapes", "train_multi", "validation", indices=[24, 0], folder=folder)
    same(part, drawn, [249, 225])


def test_only_the_needed_chunks_are_read(folder, drawn, tmp_path):
    target = tmp_path / "shapes.h5"
    target.write_bytes((folder / "shapes.h5").read_bytes())
    _spoil_chunk(target, "train_multi/default", 100)
    same(read_group("shapes", "train_multi", count=100, folder=tmp_path), drawn, slice(100))
    part = read_group("shapes", "train_multi", indices=[230, 5], folder=tmp_path)
    same(part, drawn, [230, 5])
    with pytest.raises(UserError, match=r"damaged.*datasets\.generate shapes .*--force"):
        read_group("shapes", "train_multi", start=90, count=20, folder=tmp_path)


def _spoil_chunk(path, name, first):
    with h5py.File(path) as file:
        array = file[name]
        info = array.id.get_chunk_info_by_coord((first,) + (0,) * (array.ndim - 1))
    with open(path, "r+b") as file:
        file.seek(info.byte_offset + 2)
        file.write(b"\xff" * 20)


def test_sequences_are_uint8_in_the_file_and_float32_when_read(folder):
    moving = read_group("moving_shapes_3", "train_multi", indices=[1], folder=folder)
    assert moving.images.shape == moving.groups.shape == (1, 200, 28, 28)
    assert moving.images.dtype == torch.float32
    assert moving.groups.max() == 3 and moving.groups[0, 0].max() == 1
    with h5py.File(folder / "moving_shapes_3.h5") as file:
        array = file["train_multi/default"]
        assert (array.dtype, array.compression, array.chunks) == ("uint8", "gzip", (1, 100, 28, 28))


def test_positions(folder):
    images = read_group("shapes_with_pos", "train_single_2", folder=folder).images
    positions = read_positions("train_single_2", folder=folder)
    assert positions.shape == (30, 2) and positions.dtype == torch.int64
    upper_left = torch.stack([images.amax(2).argmax(1), images.amax(1).argmax(1)], dim=1)
    assert torch.equal(positions, upper_left)


def test_data_loader_reads_batches(folder, drawn):
    dataset = BindingDataset("shapes", "train_multi", "train", folder)
    loader = torch.utils.data.DataLoader(dataset, batch_size=100)
    images, groups = (torch.cat(parts) for parts in zip(*loader, strict=True))
    np.testing.assert_array_equal(images.numpy(), drawn[0][:225])
    np.testing.assert_array_equal(groups.numpy(), drawn[1][:225])
    np.testing.assert_array_equal(dataset[224][0].numpy(), drawn[0][224])
    with pytest.raises(IndexError):
        dataset[225]


def test_sizes_and_source(folder):
    assert group_size("shapes", "train_multi", folder=folder) == 250
    assert group_size("shapes", "train_multi", "validation", folder) == 25
    assert source_of("shapes", folder) == "none"
    assert split_range(60_000, "validation") == range(54_000, 60_000)
    assert len(split_range(7, "train")) == 7


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("shape", "test"), {}, "unknown dataset 'shape'; known are bars, corners, shapes,"),
        (("shapes", "tset"), {}, "unknown group of shapes 'tset'; known are train_multi, test"),
        (("shapes", "test", "val"), {}, "unknown split 'val'; known are all, train, validation"),
        (("shapes", "train_single"), {}, "made without the group train_single; make it: python -m"),
        (("bars", "test"), {}, "bars.h5 does not exist; make it: python -m datasets.generate bars"),
        (("shapes", "test"), {"indices": [0, 7]}, "(all) holds images 0 to 6, 7 was asked for"),
        (("shapes", "test"), {"indices": [-1]}, "holds images 0 to 6, -1 was asked for"),
        (("shapes", "test"), {"start": 3, "count": 5}, "holds images 0 to 6, 7 was asked for"),
        (("shapes", "test"), {"start": 7}, "holds images 0 to 6, 7 was asked for"),
    ],
)
def test_mistakes_are_one_sentence(folder, arguments, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        read_group(*arguments, **options, folder=folder)


@pytest.mark.parametrize("keep", [0, 100, 5000, -1])
def test_cut_off_files_say_so(folder, tmp_path, keep):
    (tmp_path / "shapes.h5").write_bytes((folder / "shapes.h5").read_bytes()[:keep])
    with pytest.raises(UserError, match=r"damaged or cut off.*datasets\.generate shapes"):
        read_group("shapes", "test", folder=tmp_path)


def test_a_file_of_something_else_and_an_unfinished_one_say_so(tmp_path):
    (tmp_path / "bars.h5").write_text("no HDF5")
    with pytest.raises(UserError, match="damaged or cut off"):
        read_group("bars", "test", folder=tmp_path)
    path = ensure("bars", 1, ["train_multi"], tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False
    with pytest.raises(UserError, match="is not complete"):
        read_group("bars", "train_multi", folder=tmp_path)
