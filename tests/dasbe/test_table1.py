"""Table 1 from the command line: what it writes, goes on with, and refuses."""

import os
import random
import re
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch
from checkpoint_metadata import TRAINED
from PIL import Image
from scipy import stats

import datasets.generate
import datasets.real
from common.checkpoints import save_checkpoint
from common.files import sha256_of
from common.paths import ROOT
from common.records import load_record
from common.settings import to_dict
from dasbe import evaluation, reference
from dasbe.config import dataset_settings
from dasbe.dynamics import on_pixels
from dasbe.evaluation import CHUNK, load_part, measure_part, save_part
from dasbe.figures import table1
from dasbe.networks import build_network
from datasets.binding import read_group


def checkpoint_of(path, dataset, seed=0):
    """A small random network of a dataset: these tests are not about how well it groups."""
    sizes = {"encoder_widths": [12], "decoder_widths": [12]}
    settings = dataset_settings(dataset, {"network": sizes})
    network = build_network(
        settings.network, settings.height * settings.width, torch.Generator().manual_seed(seed)
    )
    save_checkpoint(
        path, network.state_dict(), {**TRAINED, "model": "dasbe", "settings": to_dict(settings)}
    )
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return checkpoint_of(tmp_path_factory.mktemp("networks") / "tiny.safetensors", "bars")


def flags(network, out, images, *methods, more=()):
    return [
        "--datasets", "bars", "--methods", *methods, "--images", str(images), "--seeds", "1", "2",
        "--checkpoints", f"bars={network}", "--device", "cpu", "--out", str(out), *more,
    ]  # fmt: skip


def arrays_of(out):
    with np.load(out / "arrays.npz") as file:
        return dict(file)


def same_arrays(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name], other[name]), name


def error_of(capsys, status):
    """The one sentence that a refused command prints."""
    assert status == 1
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ")
    assert len(text.splitlines()) == 1
    return text


METHODS = ("DASBE", "pure_ANN", "pure_SNN")


@pytest.fixture(scope="module")
def finished(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("table1")
    assert table1.main(flags(network, out, 20, *METHODS)) == 0
    return out


def test_the_record_holds_what_was_measured(finished, network):
    record, arrays = load_record(finished), arrays_of(finished)
    assert [m.what for m in record.measurements] == [
        "bars, DASBE",
        "bars, pure ANN",
        "bars, pure SNN",
    ]
    assert [m.paper for m in record.measurements] == [96.5, 9.6, 9.3]
    assert record.seeds == [1, 2]
    assert record.checkpoints == {"bars": sha256_of(network)}
    assert record.settings["images"] == 20
    for method, m in zip(METHODS, record.measurements, strict=True):
        ami = arrays[f"bars-{method}"]
        assert ami.shape == (2, 20)
        assert m.unit == "AMI x 100"
        assert m.value == pytest.approx(100 * ami.mean())
        assert m.spread == pytest.approx(100 * ami.mean(axis=1).std(ddof=1))
        by_image = 100 * ami.mean(axis=0)
        half = stats.t.ppf(0.975, 19) * by_image.std(ddof=1) / 20**0.5
        assert m.interval95 == pytest.approx(half)
        assert (m.n, m.seeds) == (20, [1, 2])
        assert m.seconds > 0
        assert m.checkpoint == ("" if method == "pure_SNN" else sha256_of(network)[:12])
        assert not np.array_equal(ami[0], ami[1]), "seeds must differ"


def test_the_pictures_can_be_opened(finished):
    with Image.open(finished / "figure.png") as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("L")).std() > 10
    assert (finished / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_the_pure_snn_equals_the_equations_and_scikit_learn(finished):
    """One image of the table from the equations; k-means may end in another optimum."""
    images, truth = read_group("bars", "train_multi", count=5)
    ours, theirs = arrays_of(finished)["bars-pure_SNN"][0, :5], []
    for b, image in enumerate(images):
        spikes = reference.simulate_pulse_coupled(
            image, 10, 6, 500, reference.PackageDraws(1, b, 400)
        )
        labels, _ = reference.group_pixels(spikes[-100:], int(truth[b].max()) + 1, 0)
        theirs.append(reference.ami(truth[b], labels))
    assert ours.mean() == pytest.approx(np.mean(theirs), abs=0.05)
    assert np.abs(ours - theirs).max() < 0.15


def test_finished_parts_are_not_repeated(finished, network, monkeypatch):
    def repeated(*_):
        raise AssertionError("an image was measured again")

    before = arrays_of(finished)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "score_chunk", repeated)
        assert table1.main(flags(network, finished, 20, *METHODS)) == 0
    same_arrays(arrays_of(finished), before)


def test_fewer_images_are_the_first_ones(finished, network, tmp_path):
    assert table1.main(flags(network, tmp_path, 7, *METHODS)) == 0
    everything, some = arrays_of(finished), arrays_of(tmp_path)
    for name, ami in some.items():
        assert np.array_equal(ami, everything[name][:, :7]), name


def test_a_longer_run_goes_on_from_a_shorter_one(network, tmp_path):
    methods = ("DASBE", "pure_SNN")
    grown, straight = tmp_path / "grown", tmp_path / "straight"
    for images in (10, CHUNK + 5):
        assert table1.main(flags(network, grown, images, *methods)) == 0
    assert table1.main(flags(network, straight, CHUNK + 5, *methods)) == 0
    same_arrays(arrays_of(grown), arrays_of(straight))
    assert table1.main(flags(network, straight, CHUNK, *methods)) == 0
    for name, ami in arrays_of(straight).items():
        assert np.array_equal(ami, arrays_of(grown)[name][:, :CHUNK]), name


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_table(network, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    arguments = (150, "DASBE", "pure_SNN")
    command = [sys.executable, "-m", "dasbe.figures.table1", *flags(network, killed, *arguments)]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 100
        while process.poll() is None and time.monotonic() < deadline:
            if list(killed.glob("parts/*.npz")):
                break
            time.sleep(0.005)
        time.sleep(random.random() * 0.5)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert not (killed / "record.json").exists()
    left = len(list(killed.glob("parts/*.npz")))
    assert 1 <= left < 4 or any(
        len(np.load(path)["ami"]) < 150 for path in killed.glob("parts/*.npz")
    ), "the kill must leave something to do"
    assert table1.main(flags(network, killed, *arguments)) == 0
    assert table1.main(flags(network, straight, *arguments)) == 0
    same_arrays(arrays_of(killed), arrays_of(straight))


# ---- parts ----------------------------------------------------------------------------------


def part_file(finished):
    (path,) = finished.glob("parts/bars-pure_SNN-1.npz")
    return path


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    """One bit of the AMI values, which lie near the start of the file."""
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


@pytest.mark.parametrize(
    "damage", [truncated, flipped, lambda _: b"garbage", lambda _: b""],
    ids=["truncated", "flipped bit", "garbage", "empty"],
)  # fmt: skip
def test_a_damaged_part_is_measured_anew(damage, finished, network, tmp_path):
    out = tmp_path / "copy"
    (out / "parts").mkdir(parents=True)
    for path in finished.glob("parts/*-pure_SNN-*.npz"):
        (out / "parts" / path.name).write_bytes(path.read_bytes())
    path = part_file(out)
    path.write_bytes(damage(path.read_bytes()))
    assert table1.main(flags(network, out, 20, "pure_SNN")) == 0
    assert np.array_equal(arrays_of(out)["bars-pure_SNN"], arrays_of(finished)["bars-pure_SNN"])


def test_a_part_with_another_key_is_not_used(tmp_path):
    path = tmp_path / "part.npz"
    key = {"dataset": "bars", "taus": [1, 2], "seed": 3}
    save_part(path, evaluation.Part(np.arange(4.0), 2.5, key))
    part = load_part(path, key)
    assert np.array_equal(part.ami, np.arange(4.0))
    assert (part.seconds, part.key) == (2.5, key)
    assert load_part(path, {**key, "seed": 4}).ami.size == 0
    assert load_part(tmp_path / "none.npz", key).ami.size == 0


def test_another_network_measures_anew(network, tmp_path):
    """The same folder with another network: DASBE is measured again, the pure SNN is not."""
    other = checkpoint_of(tmp_path / "other.safetensors", "bars", seed=9)
    out = tmp_path / "out"
    assert table1.main(flags(network, out, 5, "DASBE", "pure_SNN")) == 0
    one, old = arrays_of(out), part_file(out).stat().st_mtime_ns
    assert table1.main(flags(other, out, 5, "DASBE", "pure_SNN")) == 0
    two = arrays_of(out)
    assert not np.array_equal(one["bars-DASBE"], two["bars-DASBE"])
    assert part_file(out).stat().st_mtime_ns == old


def test_parts_grow_by_whole_chunks(tmp_path):
    """Images are read in the chunks in which they are simulated, and an incomplete last chunk is
    measured again."""
    calls = []

    def read(start, count):
        calls.append((start, count))
        images = torch.zeros(count, 3, 3)
        images[:, 0, :2] = 1
        groups = torch.zeros(count, 3, 3, dtype=torch.uint8)
        groups[:, 0, 0], groups[:, 0, 1] = 1, 2
        return images, groups

    def activity(images, indices, seed):
        pixels = on_pixels(images)
        steps = torch.zeros(len(images), 4, 2, dtype=torch.uint8)
        steps[:, 0, 0], steps[:, 2, 1] = 1, 1
        return steps, pixels

    def run(n):
        path, key = tmp_path / "part.npz", {"k": 1}
        return list(measure_part(path, key, read, n, activity, 0, torch.device("cpu")))[-1]

    assert run(CHUNK + 3).ami.tolist() == [1.0] * (CHUNK + 3)
    assert calls == [(0, CHUNK), (CHUNK, 3)]
    calls.clear()
    assert len(run(CHUNK + 3).ami) == CHUNK + 3
    assert calls == []
    assert len(run(2 * CHUNK + 1).ami) == 2 * CHUNK + 1
    assert calls == [(CHUNK, CHUNK), (2 * CHUNK, 1)]


# ---- what is refused ------------------------------------------------------------------------


def test_a_network_of_another_dataset(tmp_path, capsys):
    shapes = checkpoint_of(tmp_path / "shapes.safetensors", "shapes")
    text = error_of(capsys, table1.main(flags(shapes, tmp_path / "out", 5, "DASBE")))
    assert "shapes" in text
    assert "bars" in text


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--datasets", "nonsense"], "nonsense"),
        (["--datasets", "table1"], "table1"),
        (["--images", "1"], "images"),
        (["--images", "0"], "images"),
        (["--images", "-5"], "images"),
        (["--checkpoints", "bars"], "DATASET=FILE"),
        (["--checkpoints", "shapes=x"], "shapes"),
        (["--checkpoints", "bars=none.safetensors"], "none.safetensors"),
        (["--device", "tpu"], "tpu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_cannot_work(more, says, network, tmp_path, capsys):
    status = table1.main(flags(network, tmp_path / "out", 5, "DASBE", more=more))
    assert re.search(says, error_of(capsys, status))
    assert not (tmp_path / "out" / "record.json").exists()


def test_more_images_than_there_are(network, tmp_path, monkeypatch, capsys):
    """Refused at once, not after the last image has been measured."""

    def started(*_, **__):
        raise AssertionError("work was started")

    monkeypatch.setattr(table1, "ensure", started)
    more = flags(network, tmp_path / "out", 10**7, "pure_SNN")
    assert "images" in error_of(capsys, table1.main(more))


@pytest.mark.parametrize("inside", [True, False])
def test_a_file_in_place_of_the_results_folder(inside, network, tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("not a folder")
    out = file / "results" if inside else file
    assert "file" in error_of(capsys, table1.main(flags(network, out, 5, "pure_SNN")))


def test_damaged_images_are_named(network, tmp_path, monkeypatch, capsys):
    """A chunk of the HDF5 file that does not decompress: one sentence, no result."""
    monkeypatch.setattr(datasets.real, "DATA_FILES", tmp_path)
    path = datasets.generate.ensure("bars", 40, ["train_multi"])
    with h5py.File(path) as file:
        chunk = file["train_multi"]["default"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    middle = chunk.byte_offset + chunk.size // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    text = error_of(capsys, table1.main(flags(network, tmp_path / "out", 20, "pure_SNN")))
    assert "bars.h5" in text
    assert not (tmp_path / "out" / "record.json").exists()


def test_a_cut_off_file_of_images_is_made_again(network, finished, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.real, "DATA_FILES", tmp_path)
    path = datasets.generate.ensure("bars", 40, ["train_multi"])
    path.write_bytes(path.read_bytes()[:3000])
    assert table1.main(flags(network, tmp_path / "out", 20, "pure_SNN")) == 0
    assert np.array_equal(
        arrays_of(tmp_path / "out")["bars-pure_SNN"], arrays_of(finished)["bars-pure_SNN"]
    )
