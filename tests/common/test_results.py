"""Arrays of results: whole on disk, and one sentence for a damaged file."""

import numpy as np
import pytest

from common.errors import UserError
from common.results import load_arrays, save_arrays


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
