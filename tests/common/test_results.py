"""Arrays of results: whole on disk, and one sentence for a damaged file."""

import zipfile

import numpy as np
import pytest

from common.errors import UserError
from common.results import MOST_BYTES, load_arrays, save_arrays


def test_arrays_come_back_as_they_were(tmp_path):
    arrays = {"spikes": np.arange(12, dtype=np.uint8).reshape(3, 4), "ami": np.array([0.5, np.nan])}
    save_arrays(tmp_path / "arrays.npz", arrays)
    loaded = load_arrays(tmp_path / "arrays.npz")
    assert loaded.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(loaded[name], values)
    with pytest.raises(UserError, match="no arrays"):
        load_arrays(tmp_path / "other.npz")


def test_a_flipped_bit_anywhere_is_harmless_or_named(tmp_path):
    path = tmp_path / "arrays.npz"
    save_arrays(path, {"values": np.random.default_rng(0).normal(size=(20, 5))})
    data, named = path.read_bytes(), 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        try:
            load_arrays(path)
        except UserError as error:
            assert "damaged" in str(error)
            named += 1
    assert named > 0.8 * len(data)


@pytest.mark.parametrize("kind", ["zeros", "a shape of its own"])
def test_a_file_that_unpacks_to_too_much_is_named(kind, tmp_path):
    path = tmp_path / "arrays.npz"
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
    with archive, archive.open("values.npy", "w") as part:
        shape = (MOST_BYTES + 1,) if kind == "zeros" else (1 << 50,)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(part, header)
        for _ in range(MOST_BYTES >> 24 if kind == "zeros" else 0):
            part.write(bytes(1 << 24))
    assert path.stat().st_size < 2 << 20
    with pytest.raises(UserError, match="damaged"):
        load_arrays(path)
