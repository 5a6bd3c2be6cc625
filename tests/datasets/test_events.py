import gzip
import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from common.errors import UserError
from datasets.events import (
    Recording,
    bin_events,
    pack_events,
    random_starts,
    scaled_shape,
)
from datasets.events_files import unpack_file, unpack_tar

SHAPE = (2, 6, 4)


def some_events(seed=0, counts=(50, 0, 80, 1)):
    """Recordings of these numbers of events within 100 microseconds."""
    rng = np.random.default_rng(seed)
    recordings = [
        Recording(rng.integers(0, 100, n), rng.integers(0, 48, n), 100, k % 3, f"recording {k}")
        for k, n in enumerate(counts)
    ]
    return pack_events(recordings, SHAPE, 3, "some")


def plain_bins(events, indices, step, n_steps, start, scale, binary):
    """Event by event."""
    counts = np.zeros((len(indices), n_steps, 2, 6 // scale, 4 // scale))
    for b, i in enumerate(indices):
        for e in range(events.offsets[i], events.offsets[i + 1]):
            t = int(np.floor((events.times[e] - start[b]) / step))
            p, row, column = np.unravel_index(events.addresses[e], SHAPE)
            if 0 <= t < n_steps:
                counts[b, t, p, row // scale, column // scale] += 1
    return np.minimum(counts, 1) if binary else counts


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("step", "n_steps"), [(7, 5), (7, 40), (100, 1), (1, 3)])
def test_bins_equal_those_of_counting_event_by_event(scale, binary, step, n_steps):
    events, indices, start = some_events(), [2, 0, 1, 3, 2], np.array([0, 13, 0, 0, 61])
    found = bin_events(events, indices, step, n_steps, start, scale, binary)
    assert found.dtype == torch.float32
    assert found.shape == (5, n_steps, *scaled_shape(SHAPE, scale))
    expected = plain_bins(events, indices, step, n_steps, start, scale, binary)
    np.testing.assert_array_equal(found.numpy(), expected)


def test_an_event_at_the_border_belongs_to_the_later_bin_and_those_beyond_are_dropped():
    times = np.array([0, 2999, 3000, 5999, 6000])
    events = pack_events([Recording(times, np.zeros(5, int), 6001, 0, "r")], (1,), 1, "some")
    assert bin_events(events, [0], 3000, 2)[0, :, 0].tolist() == [2, 2]
    assert bin_events(events, [0], 3000, 3)[0, :, 0].tolist() == [2, 2, 1]
    assert bin_events(events, [0], 3000, 1, start=2999)[0, :, 0].tolist() == [2]


def test_a_given_tensor_is_overwritten_in_its_own_type():
    events, out = some_events(), torch.full((2, 4, *SHAPE), 9, dtype=torch.int16)
    found = bin_events(events, [0, 2], 10, 4, out=out)
    assert found.data_ptr() == out.data_ptr()
    assert torch.equal(out.float(), bin_events(events, [0, 2], 10, 4))


def test_what_cannot_be_binned_is_refused():
    events = some_events()
    for indices in ([4], [-1]):
        with pytest.raises(IndexError, match="recordings are 0 to 3"):
            bin_events(events, indices, 1, 1)
    for step, n_steps in ((0, 1), (1, 0)):
        with pytest.raises(ValueError, match="1 or more"):
            bin_events(events, [0], step, n_steps)
    for scale in (0, 4):
        with pytest.raises(ValueError, match="cannot be joined"):
            bin_events(events, [0], 1, 1, scale=scale)
    with pytest.raises(ValueError, match="cannot be joined"):
        scaled_shape((700,), 2)
    with pytest.raises(ValueError, match="out has the shape"):
        bin_events(events, [0], 1, 2, out=torch.empty(1, 1, *SHAPE))


def test_recordings_lie_one_after_the_other():
    events = some_events()
    assert events.n_recordings == 4 and events.offsets.tolist() == [0, 50, 50, 130, 131]
    assert events.labels.tolist() == [0, 1, 2, 0] and events.durations.tolist() == [100] * 4
    assert events.times.dtype == np.int32 and events.addresses.dtype == np.uint16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 3}, "bad: the label is 3; it must be from 0 to 2"),
        ({"label": -1}, "bad: the label is -1"),
        ({"addresses": np.array([0, 48])}, "bad: an event has the address 48, not 0 to 47"),
        ({"addresses": np.array([-1, 3])}, "bad: an event has the address -1"),
        ({"times": np.array([0, -5])}, "bad: an event has the time -5"),
        ({"times": np.array([0, 2**31])}, "bad: an event has the time 2147483648"),
        ({"times": np.array([0])}, "bad: 1 times but 2 addresses"),
    ],
)
def test_a_wrong_recording_is_named(change, message):
    good = Recording(np.array([0, 1]), np.array([0, 1]), 2, 0, "good")
    with pytest.raises(UserError, match=message):
        pack_events([good, good._replace(name="bad", **change)], SHAPE, 3, "some")
    with pytest.raises(UserError, match="some: there are no recordings"):
        pack_events([], SHAPE, 3, "some")


def test_random_windows_lie_within_the_recording_and_reach_its_end():
    durations = (100, 50, 40)
    events = pack_events(
        [Recording(np.array([0]), np.array([0]), d, 0, "r") for d in durations], (1,), 1, "some"
    )
    source = torch.Generator().manual_seed(0)
    starts = random_starts(events, np.repeat([0, 1, 2], 2000), 50, source).reshape(3, -1)
    assert set(starts[0]) == set(range(51))
    assert not starts[1:].any()
    assert abs(starts[0].mean() - 25) < 1
    again = random_starts(events, np.repeat([0, 1, 2], 2000), 50, source.manual_seed(0))
    np.testing.assert_array_equal(again, starts.ravel())


# ---- archives -------------------------------------------------------------------------------


def tar_file(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def files_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_one_file_is_unpacked_wherever_it_lies_in_the_archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.h5.zip", "w") as archive:
        archive.writestr("../../elsewhere/x.h5", b"content")
    (tmp_path / "y.h5.gz").write_bytes(gzip.compress(b"other"))
    out = tmp_path / "out"
    assert unpack_file(tmp_path / "x.h5.zip", out / "x.h5", 10_000).read_bytes() == b"content"
    assert unpack_file(tmp_path / "y.h5.gz", out / "y.h5", 10_000).read_bytes() == b"other"
    kept = ["out/.x.h5.from.json", "out/.y.h5.from.json"]  # what they were unpacked from
    assert files_in(tmp_path) == [*kept, "out/x.h5", "out/y.h5", "x.h5.zip", "y.h5.gz"]


def test_damaged_archives_leave_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.h5.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.h5", os.urandom(5000))
    whole = {
        "x.h5.zip": (tmp_path / "x.h5.zip").read_bytes(),
        "x.h5.gz": gzip.compress(os.urandom(5000)),
    }
    for name, content in whole.items():
        for broken in (content[:-100], content[:2000] + b"\0" * 9 + content[2009:], b"text"):
            (tmp_path / name).write_bytes(broken)
            with pytest.raises(UserError, match="is damaged or cut off"):
                unpack_file(tmp_path / name, tmp_path / "out" / "x.h5", 10_000)
    (tmp_path / "x.h5.zip").write_bytes(whole["x.h5.zip"])
    with pytest.raises(UserError, match=r"holds no y\.h5"):
        unpack_file(tmp_path / "x.h5.zip", tmp_path / "out" / "y.h5", 10_000)
    assert files_in(tmp_path / "out") == []


def test_a_tar_file_is_unpacked_whole_or_not_at_all(tmp_path):
    packed = tar_file(tmp_path / "a.tar.gz", {"Set/list.txt": b"a", "Set/b.bin": os.urandom(9000)})
    target = tmp_path / "out" / "Set"
    assert unpack_tar(packed, target, "list.txt", 10_000) == target
    assert files_in(tmp_path / "out") == [".Set.from.json", "Set/b.bin", "Set/list.txt"]
    content = packed.read_bytes()
    for broken in (content[:-2000], b"text"):
        packed.write_bytes(broken)
        with pytest.raises(UserError, match="is damaged or cut off"):
            unpack_tar(packed, tmp_path / "other" / "Set", "list.txt", 10_000)
    packed.write_bytes(content)
    with pytest.raises(UserError, match=r"holds no other\.txt"):
        unpack_tar(packed, tmp_path / "other" / "Set", "other.txt", 10_000)
    tar_file(packed, {"Set/list.txt": b"a", "../escaped.txt": b"b"})
    with pytest.raises(UserError, match="is damaged or cut off"):
        unpack_tar(packed, tmp_path / "other" / "Set", "list.txt", 10_000)
    assert files_in(tmp_path / "other") == [] and not (tmp_path / "escaped.txt").exists()
