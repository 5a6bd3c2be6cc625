"""Training: the losses as equations, and runs that are killed, repeated, shared or refused."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from dasbe_examples import SHAPES, lively_network, random_images
from interruption import interrupt_after
from torch.nn.functional import binary_cross_entropy

from common import learner
from common.checkpoints import load_checkpoint
from common.distributed import Distributed
from common.paths import ROOT
from dasbe import objectives, train
from dasbe.config import dataset_settings
from dasbe.networks import build_network
from datasets.binding import read_group, split_range

TINY = [
    "--dataset", "bars", "--images", "60", "--batch_size", "16", "--steps_per_epoch", "none",
    "--encoder_widths", "20", "--decoder_widths", "20", "--learning_rate", "0.005",
    "--milestones", "4=0.5", "--epochs", "6", "--choose", "noisy", "--device", "cpu",
]  # fmt: skip
SPIKING = ["--kind", "spiking_code", "--code_cost", "0.1", "--code_dropout", "0.5"]


def flags(folder, *more):
    out = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return [*TINY, *out, *more]


def finished(folder):
    return load_checkpoint(folder / "net.safetensors", model="dasbe")


def same_training(one, other):
    """Bit for bit the same network, scores and curve."""
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
    for key in one.metadata.keys() - {"seconds", "command"}:
        assert one.metadata[key] == other.metadata[key], key


def error_of(capsys, status):
    """The one sentence that a refused command prints."""
    assert status == 1
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ")
    assert len(text.splitlines()) == 1
    return text


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Equal bit for bit needs equal threads, here and in the processes that are started."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    assert train.main(flags(folder)) == 0
    return finished(folder)


# ---- losses ---------------------------------------------------------------------------------


def test_pixels_are_dropped_with_one_probability_a_batch():
    images = torch.ones(50, 400)
    shares = []
    for seed in range(200):
        noisy = objectives.drop_pixels(images, (0.6, 0.8), torch.Generator().manual_seed(seed))
        assert set(noisy.unique().tolist()) == {0, 1}
        by_image = 1 - noisy.mean(1)
        assert by_image.std() < 0.04, "all images of a batch share their probability"
        shares.append(by_image.mean().item())
    assert min(shares) > 0.59
    assert max(shares) < 0.81
    assert sum(shares) / 200 == pytest.approx(0.7, abs=0.01)
    noisy = objectives.drop_pixels(torch.zeros(3, 8), (0.6, 0.6), torch.Generator())
    assert not noisy.any()


def test_batches_are_a_pass_through_the_data_or_drawn_with_replacement():
    settings = dataset_settings("bars", {"training": {"batch_size": 16, "steps_per_epoch": None}})
    batches = objectives.epoch_batches(60, settings.training, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == [16, 16, 16, 12]
    assert sorted(torch.cat(batches).tolist()) == list(range(60))
    settings = dataset_settings("bars", {"training": {"batch_size": 16, "steps_per_epoch": 90}})
    batches = objectives.epoch_batches(60, settings.training, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == [16] * 90
    assert set(torch.stack(batches).flatten().tolist()) == set(range(60))


@pytest.mark.parametrize("kind", ["autoencoder", "deep"])
def test_reconstruction_loss_is_the_binary_cross_entropy(kind):
    network = lively_network(kind, 30)
    clean = random_images(6, 5, 6).flatten(1)
    noisy = clean * (torch.rand(6, 30, generator=torch.Generator().manual_seed(0)) < 0.4)
    loss, drive = objectives.reconstruction_loss(network, noisy, clean, torch.Generator(), False)
    output = network.decode(network.encode(noisy))
    expected = binary_cross_entropy(output, clean, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    torch.testing.assert_close(drive, network.encode(noisy))


def test_penalties_are_their_equations():
    network = lively_network("spiking_code", 30)
    clean = random_images(6, 5, 6).flatten(1)
    clean[2] = 0
    drive = network.encode(clean)
    changed = {"contraction": 0.3, "code_cost": 0.5, "blank_code_cost": 3.0}
    settings = dataset_settings("multi_mnist", {"training": changed}).training
    expected = 0.0
    for image, row in zip(clean, drive, strict=True):
        h = torch.sigmoid(network.encoder[0](image))
        for unit in range(len(h)):
            weight = network.encoder[0].weight[unit]
            expected += 0.3 * (h[unit] * (1 - h[unit])) ** 2 * (weight**2).sum()
        expected += (0.5 if image.any() else 3.0) * row.sum()
    found = objectives.penalty(network, clean, clean, drive, settings)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert objectives.penalty(network, clean, clean, drive, dataset_settings("bars").training) == 0


def test_a_share_of_the_images_is_blank():
    images = torch.ones(20, 4)
    blank = objectives.blank_images(images, 0.3)
    assert blank.sum(1).tolist() == [0] * 6 + [4] * 14
    assert images.all()


def without_data(objective, settings):
    """An objective whose images are given by the test."""
    found = objective.__new__(objective)
    found.settings = settings
    return found


def test_the_next_frame_is_predicted_from_two_codes():
    """The pieces of truncated back-propagation against one frame at a time."""
    network = lively_network("recurrent", 30)
    clean = (torch.rand(3, 12, 30, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    settings = dataset_settings("moving_shapes", {"training": {"unroll": 4}}).training
    pieces = list(without_data(objectives.NextFrame, settings).losses(network, clean, clean))
    assert len(pieces) == 3
    expected, previous = [], torch.zeros(3, 11)
    for t in range(11):
        h = network.encode(clean[:, t])
        mixed = torch.sigmoid(previous @ network.recurrent.weight.T + h + network.recurrent.bias)
        expected.append((network.decode(mixed) - clean[:, t + 1]).square().sum().item())
        previous = h
    sums = [sum(expected[i : i + 4]) for i in (0, 4, 8)]
    assert [piece.item() for piece in pieces] == pytest.approx(sums, rel=1e-4)


def test_frames_are_spoiled():
    settings = dataset_settings("moving_shapes").training
    objective = without_data(objectives.NextFrame, settings)
    noisy = objective.spoil(torch.ones(6, 999, 50), torch.Generator().manual_seed(0))
    assert set(noisy.unique().tolist()) == {0, 1}
    share = noisy.mean(2)
    lost = share < 0.25
    assert (lost == lost[:1]).float().mean() > 0.99, "the same frames for the whole batch"
    assert lost[0].sum() == pytest.approx(200, abs=4)
    kept = share[:, ~lost[0]].mean().item()
    assert kept == pytest.approx(1 - 0.5 * 0.95, abs=0.01)
    assert share[:, lost[0]].mean().item() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("loss", ["bce_mean", "bce_sum"])
def test_one_step_is_adam_on_the_loss(loss):
    """An epoch of one batch against the loss written out and PyTorch's Adam."""
    overrides = {"loss": loss, "images": 20, "batch_size": 100, "noise": (0.6, 0.6)}
    overrides |= {"steps_per_epoch": None}
    settings = dataset_settings("bars", {"training": overrides})
    objective = objectives.Reconstruction(settings, "auto")
    networks = [build_network(SHAPES["deep"], 400, torch.Generator().manual_seed(1)) for _ in "ab"]
    steps = [torch.optim.Adam(network.parameters(), lr=0.01) for network in networks]
    numbers = objectives.Randomness(torch.Generator().manual_seed(5), torch.Generator())
    alone = Distributed(0, 1, torch.device("cpu"))
    value = objective.train_epoch(networks[0], steps[0], 0, numbers, alone)

    random_numbers = torch.Generator().manual_seed(5)
    order = torch.randperm(18, generator=random_numbers)
    rows = split_range(20, "train")
    clean = read_group("bars", "train_single", indices=rows).images.flatten(1)[order]
    noisy = objectives.drop_pixels(clean, (0.6, 0.6), random_numbers)
    output = networks[1].decode(networks[1].encode(noisy))
    cost = binary_cross_entropy(output, clean, reduction=loss.removeprefix("bce_"))
    cost.backward()
    steps[1].step()
    mean = cost.item() / (1 if loss == "bce_mean" else clean.numel())
    assert value == pytest.approx(mean, rel=1e-5)
    before = build_network(SHAPES["deep"], 400, torch.Generator().manual_seed(1)).state_dict()
    for (name, one), other in zip(
        networks[0].state_dict().items(), networks[1].state_dict().values(), strict=True
    ):
        # Adam's first step is about the sign of the gradient, so nearly 0 may go either way.
        close = (one - other).abs() < 1e-5
        assert close.float().mean() > 0.99, name
        assert not torch.equal(one, before[name])


# ---- runs -----------------------------------------------------------------------------------


def test_a_run_learns_and_tells_its_curve(whole):
    curve = whole.metadata["curve"]
    assert [line["epoch"] for line in curve] == [1, 2, 3, 4, 5, 6]
    assert curve[-1]["loss"] < 0.7 * curve[0]["loss"]
    assert [line["learning_rate"] for line in curve] == [0.005] * 4 + [0.0025] * 2
    best = min(curve, key=lambda line: line["noisy"])
    assert whole.metadata["epoch"] == best["epoch"]
    assert whole.metadata["validation_loss_noisy"] == best["noisy"]
    assert whole.metadata["validation_loss_clean"] == best["clean"]
    assert whole.metadata["seed"] == 0
    assert whole.metadata["data"]["images"] == 60
    assert whole.tensors["encoder.0.weight"].shape == (20, 400)


def test_a_run_repeats_itself_and_seeds_differ(whole, tmp_path):
    assert train.main(flags(tmp_path)) == 0
    same_training(finished(tmp_path), whole)
    assert not list((tmp_path / "partial").iterdir()), "the state of a finished run is removed"
    assert train.main(flags(tmp_path, "--seed", "1", "--overwrite")) == 0
    assert not torch.equal(
        finished(tmp_path).tensors["encoder.0.weight"], whole.tensors["encoder.0.weight"]
    )


@pytest.mark.parametrize("choose", ["clean", "last"])
def test_the_network_that_is_kept(choose, tmp_path):
    assert train.main(flags(tmp_path, "--choose", choose)) == 0
    metadata = finished(tmp_path).metadata
    curve = metadata["curve"]
    clean = min(curve, key=lambda line: line["clean"])["epoch"]
    assert metadata["epoch"] == (clean if choose == "clean" else 6)


def test_training_stops_early(tmp_path):
    """At a rate of 0 no validation is better than the first."""
    assert train.main(flags(tmp_path, "--learning_rate", "0", "--patience", "2")) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["epoch"] == 1
    assert metadata["epochs"] == 3


@pytest.mark.parametrize("kind", [[], SPIKING], ids=["autoencoder", "spiking_code"])
def test_ctrl_c_and_on(kind, tmp_path, monkeypatch, capsys):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    assert train.main(flags(straight, *kind)) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, 3)
        assert train.main(flags(stopped, *kind)) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (stopped / "net.safetensors").exists()
    log = (stopped / "partial" / "dasbe_net.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log] == [1, 2, 3]
    assert train.main(flags(stopped, *kind)) == 0
    same_training(finished(stopped), finished(straight))


def test_an_unfinished_run_is_not_mixed_with_another(whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, 2)
        assert train.main(flags(tmp_path)) == 130
    capsys.readouterr()
    for other, says in (
        (["--learning_rate", "0.004"], "learning_rate"),
        (["--seed", "3"], "seed"),
        (["--images", "50"], "images"),
    ):
        text = error_of(capsys, train.main(flags(tmp_path, *other)))
        assert says in text
        assert "dasbe_net.pt" in text
    assert train.main(flags(tmp_path)) == 0
    same_training(finished(tmp_path), whole)


def test_overwrite_forgets_an_unfinished_run(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, 2)
        assert train.main(flags(tmp_path, "--seed", "4")) == 130
    assert train.main(flags(tmp_path, "--overwrite")) == 0
    same_training(finished(tmp_path), whole)


def test_a_damaged_state_is_named(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, 1)
        assert train.main(flags(tmp_path)) == 130
    capsys.readouterr()
    state = tmp_path / "partial" / "dasbe_net.pt"
    state.write_bytes(state.read_bytes()[:-500])
    assert "dasbe_net.pt" in error_of(capsys, train.main(flags(tmp_path)))


def test_a_finished_checkpoint_is_left_alone(tmp_path, capsys):
    assert train.main(flags(tmp_path)) == 0
    before = (tmp_path / "net.safetensors").read_bytes()
    capsys.readouterr()
    assert train.main(flags(tmp_path)) == 0
    assert "--overwrite" in capsys.readouterr().out
    text = error_of(capsys, train.main(flags(tmp_path, "--epochs", "5")))
    assert "epochs" in text
    assert "net.safetensors" in text
    assert (tmp_path / "net.safetensors").read_bytes() == before
    assert train.main(flags(tmp_path, "--epochs", "5", "--overwrite")) == 0
    assert finished(tmp_path).metadata["epochs"] == 5


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--dataset", "nonsense"], "shapes"),
        (["--seed", "-1"], "seed"),
        (["--images", "1"], "images"),
        (["--learning_rate", "1e38"], "loss"),
        (["--encoder_widths", "20", "10"], "encoder_widths"),
        (["--device", "tpu"], "tpu"),
        (["--images", "9999999"], "images"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_cannot_work(more, says, tmp_path, capsys):
    assert says in error_of(capsys, train.main(flags(tmp_path, *more)))
    assert not (tmp_path / "net.safetensors").exists()


def test_a_missing_dataset_is_asked_for(capsys):
    assert "--dataset" in error_of(capsys, train.main([]))


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    error_of(capsys, train.main(flags(tmp_path / "file")))


# ---- processes ------------------------------------------------------------------------------


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(tmp_path):
    long = ["--epochs", "60", "--steps_per_epoch", "30"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert train.main(flags(straight, *long)) == 0
    killed.mkdir()
    log = killed / "partial" / "dasbe_net.jsonl"
    command = [sys.executable, "-m", "dasbe.train", *flags(killed, *long)]
    process = subprocess.Popen(command, env=environment(), cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        after = random.randint(2, 20)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if log.exists() and len(log.read_text().splitlines()) >= after:
                break
            time.sleep(0.002)
        time.sleep(random.random() * 0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert not (killed / "net.safetensors").exists()
    assert train.main(flags(killed, *long)) == 0
    same_training(finished(killed), finished(straight))
    assert [line["epoch"] for line in finished(killed).metadata["curve"]] == list(range(1, 61))


@pytest.mark.slow
def test_two_processes_train_as_one(whole, tmp_path):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "dasbe.train", *flags(tmp_path),
    ]  # fmt: skip
    subprocess.run(command, env=environment(), cwd=tmp_path, check=True, timeout=120)
    together = finished(tmp_path)
    for line, alone in zip(together.metadata["curve"], whole.metadata["curve"], strict=True):
        assert line == pytest.approx(alone, rel=1e-4)
    for name, tensor in together.tensors.items():
        torch.testing.assert_close(tensor, whole.tensors[name], rtol=0, atol=1e-5)
