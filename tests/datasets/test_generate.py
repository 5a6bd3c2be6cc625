import resource
import signal
import subprocess
import sys
import time
import zlib

import h5py
import numpy as np
import pytest

from common.errors import UserError
from common.paths import ROOT
from datasets import hdf5, real
from datasets.binding import read_group
from datasets.catalogue import find
from datasets.generate import ensure, main, published_checksums, verify, wanted_counts
from datasets.generators import Batch


def counts_in(path):
    return hdf5.read_info(path).counts


def test_command_line_makes_keeps_verifies_and_forces(tmp_path, capsys):
    arguments = ["bars", "corners", "--count", "120", "test=30", "--out", str(tmp_path)]
    assert main(arguments) == 0
    assert "train_multi 120, test 30" in capsys.readouterr().out
    path = tmp_path / "bars.h5"
    assert counts_in(path) == {
        "train_multi": 120,
        "test": 30,
        "train_single": 120,
        "train_single_hori": 100,
        "train_single_vert": 100,
    }
    made = path.stat().st_mtime_ns
    assert main(arguments) == 0 and path.stat().st_mtime_ns == made
    assert main([*arguments, "--verify"]) == 0
    assert "verified" in capsys.readouterr().out
    assert main(["bars", "--count", "5", "--out", str(tmp_path), "--force"]) == 0
    assert set(counts_in(path).values()) == {5}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bar"], "unknown dataset 'bar'; known are bars, corners"),
        (["bars", "--count", "0"], "--count 0: give N or GROUP=N with N at least 1"),
        (["bars", "--count", "test=many"], "--count test=many: give N or GROUP=N"),
        (["bars", "--count", "tset=3"], "--count tset=...: no group of that name in bars"),
        (["bars", "--verify"], "bars.h5 does not exist; make it: python -m datasets.generate bars"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, capsys, arguments, message):
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_layout_is_plain_hdf5_with_gzip(tmp_path):
    path = ensure("shapes", 250, ["train_multi", "test"], tmp_path)
    plain = tmp_path / "plain.h5"
    with h5py.File(path) as file, h5py.File(plain, "w") as copy:
        assert set(file) == {"train_multi", "test"}
        for name in ("default", "groups"):
            array = file["train_multi"][name]
            assert array.shape == (250, 28, 28) and array.dtype == np.float32
            assert array.chunks == (100, 28, 28)
            assert (array.compression, array.compression_opts) == ("gzip", 4)
            assert set(np.unique(array)) == set(range(2 if name == "default" else 4))
            for group in file:
                copy.create_dataset(
                    f"{group}/{name}",
                    data=file[group][name],
                    chunks=(100, 28, 28),
                    compression="gzip",
                    compression_opts=4,
                )
        assert file.attrs["seed"] == 265076 and file.attrs["complete"]
    assert path.stat().st_size <= plain.stat().st_size


def test_more_is_made_when_asked_and_what_was_there_stays(tmp_path):
    path = ensure("bars", 20, ["test"], tmp_path)
    with h5py.File(path) as file:
        first = file["test/groups"][:]
    assert ensure("bars", 10, ["test"], tmp_path) == path and counts_in(path) == {"test": 20}
    ensure("bars", {"train_single": 7}, ["train_single"], tmp_path)
    assert counts_in(path) == {"test": 20, "train_single": 7}
    ensure("bars", 130, ["test"], tmp_path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["test/groups"][:20], first)
    verify(path)


def test_full_groups_are_checked_against_the_published_arrays(tmp_path):
    counts = wanted_counts(find("bars"), None, ["train_single", "train_single_hori"])
    expected = published_checksums(find("bars"), counts, "none")
    assert len(expected) == 4
    ensure("bars", groups=list(counts), folder=tmp_path)
    good = (tmp_path / "bars.h5").read_bytes()
    wrong = [(0, Batch("test", {n: np.ones((1, 20, 20), np.uint8) for n in ("default", "groups")}))]
    with pytest.raises(RuntimeError, match="test/groups differs from the published"):
        hdf5.write(
            tmp_path / "bars.h5", find("bars"), {"test": 1}, wrong, "none", {"test/groups": "0"}
        )
    assert (tmp_path / "bars.h5").read_bytes() == good
    assert published_checksums(find("bars"), {"test": 9_999}, "none") == {}
    full = find("mnist_shape").sizes
    assert len(published_checksums(find("mnist_shape"), full, "MNIST")) == 6
    assert published_checksums(find("mnist_shape"), full, "MNIST, 5 000 images") == {}


def test_usual_numbers_leave_out_most_of_the_largest_group():
    assert wanted_counts(find("multi_mnist"))["train_single"] == 60_000
    assert wanted_counts(find("multi_mnist"), {"train_single": 300_000})["train_single"] == 300_000
    assert wanted_counts(find("bars"), 10**9) == find("bars").sizes


@pytest.mark.parametrize("damage", ["cut", "text", "version"])
def test_damaged_or_old_files_are_made_again_and_announced(tmp_path, caplog, damage):
    path = ensure("bars", 20, ["test"], tmp_path)
    good = hdf5.checksums(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "text":
        path.write_text("something else")
    else:
        with h5py.File(path, "r+") as file:
            file.attrs["generator_version"] = 0
    ensure("bars", 20, ["test"], tmp_path)
    assert ("another version" if damage == "version" else "damaged, cut off") in caplog.text
    assert hdf5.checksums(path) == good


def test_verify_finds_changed_images(tmp_path, capsys):
    path = ensure("bars", 20, ["test"], tmp_path)
    with h5py.File(path, "r+") as file:
        array = file["test/default"]
        pixels = array[:]
        pixels[3, 4, 5] = 1 - pixels[3, 4, 5]
        array.id.write_direct_chunk((0, 0, 0), zlib.compress(pixels, 4))
    assert main(["bars", "--verify", "--out", str(tmp_path)]) == 1
    assert "test/default differs from what was generated" in capsys.readouterr().err


def test_failing_in_the_middle_leaves_what_was_there(tmp_path):
    def batches():
        yield 0, Batch("test", {name: np.zeros((100, 20, 20), np.uint8) for name in arrays})
        raise KeyboardInterrupt

    arrays = ("default", "groups")
    path = ensure("bars", 20, ["test"], tmp_path)
    good = path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        hdf5.write(path, find("bars"), {"test": 200}, batches(), "none", {})
    assert path.read_bytes() == good
    assert [file.name for file in tmp_path.iterdir()] == ["bars.h5"]


def test_interrupting_the_command_leaves_nothing(tmp_path):
    command = [sys.executable, "-m", "datasets.generate", "moving_shapes", "--out", str(tmp_path)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell would hand down that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted" in errors and "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_sentence(tmp_path):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    command = [sys.executable, "-m", "datasets.generate", "bars", "--out", str(tmp_path)]
    result = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, preexec_fn=small_files, timeout=60
    )
    assert result.returncode == 1
    assert "bars.h5 could not be written (File too large); free some space" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_embedded_digits_are_recorded_and_replaced_when_others_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("SNN_DATA", raising=False)
    ensure("mnist_shape", 4, ["test"], tmp_path, data="embedded")
    assert hdf5.read_info(tmp_path / "mnist_shape.h5").data == "MNIST, 5 000 images"
    with h5py.File(tmp_path / "mnist_shape.h5", "r+") as file:
        file.attrs["data"] = file["test"].attrs["data"] = "MNIST"
    made = (tmp_path / "mnist_shape.h5").stat().st_mtime_ns
    ensure("mnist_shape", 4, ["test"], tmp_path, data="auto")
    assert (tmp_path / "mnist_shape.h5").stat().st_mtime_ns == made
    ensure("mnist_shape", 4, ["test"], tmp_path, data="embedded")
    assert hdf5.read_info(tmp_path / "mnist_shape.h5").data == "MNIST, 5 000 images"


def test_a_file_whose_groups_are_of_different_digits_is_made_anew(tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("SNN_DATA", raising=False)
    path = ensure("mnist_shape", 4, ["train_multi", "test"], tmp_path, data="embedded")
    for changed in ("MNIST", None):  # of other digits; made before groups said which
        with h5py.File(path, "r+") as file:
            file.attrs["data"] = "MNIST"
            for name, group in file.items():
                group.attrs["data"] = "MNIST" if name == "test" else "MNIST, 5 000 images"
                if changed is None:
                    del group.attrs["data"]
        assert hdf5.read_info(path).data == "mixed"
        ensure("mnist_shape", 4, ["train_multi", "test"], tmp_path, data="embedded")
        assert hdf5.read_info(path).data == "MNIST, 5 000 images"
    assert "its digits are mixed, and MNIST, 5 000 images is to be used now" in caplog.text


def test_a_file_that_another_program_has_open_is_read_and_never_replaced(tmp_path):
    """By one that reads, with a lock; and by one that writes."""
    path = ensure("bars", 300, ["test"], tmp_path)
    made = path.stat().st_mtime_ns
    program = "import h5py, sys; f = h5py.File(*sys.argv[1:]); print('open', flush=True); input()"
    for mode in ("r", "r+"):
        command = [sys.executable, "-c", program, str(path), mode]
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "open\n"
        try:
            try:
                assert ensure("bars", 10, ["test"], tmp_path) == path
                assert counts_in(path) == {"test": 300}
            except UserError as error:
                assert mode == "r+" and "is open for writing in another program" in str(error)
        finally:
            other.communicate("\n")
        assert path.stat().st_mtime_ns == made or mode == "r+"
        assert counts_in(path) == {"test": 300}


def test_of_two_commands_for_the_same_data_set_one_waits(tmp_path):
    command = [
        *(sys.executable, "-m", "datasets.generate", "moving_shapes_3", "--count", "40"),
        *("--out", str(tmp_path)),
    ]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=100)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sum("making" in text for text in errors) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["moving_shapes_3.h5"]


def test_where_nothing_can_be_written_files_go_elsewhere(tmp_path, monkeypatch, caplog):
    """Of a read-only checkout; what lies there already is used."""
    usual, given, home = (tmp_path / name for name in ("usual", "given", "home"))
    ensure("bars", 20, ["test"], usual)
    given.mkdir()
    closed = {usual}
    real._other_folder.cache_clear()
    monkeypatch.setattr(real, "DATA_FILES", usual)
    monkeypatch.setattr(real, "_writable", lambda folder: not closed & {folder, *folder.parents})
    monkeypatch.setenv("SNN_DATA", str(given))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert ensure("bars", 20, ["test"]) == usual / "bars.h5"
    assert ensure("bars", 30, ["test"]) == given / "generated/bars.h5"
    assert len(read_group("bars", "test").images) == 30
    assert ensure("bars", 30, ["test"]) == given / "generated/bars.h5"
    closed.add(given)
    assert ensure("shapes", 3, ["test"]) == given / "generated/shapes.h5", "decided once"
    real._other_folder.cache_clear()
    assert ensure("shapes", 3, ["test"]) == home / "snn-papers/shapes.h5"
    assert caplog.text.count("cannot be written; data sets go to") == 2
