"""Training: an epoch as its equations, and runs that are killed, repeated, shared or refused."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from interruption import interrupt_after

from common import learner
from common.checkpoints import load_checkpoint
from common.distributed import Distributed
from common.paths import ROOT
from common.training import generator
from datasets.binding import read_group
from gust import reference, train
from gust.config import gust_settings
from gust.dynamics import Noise
from gust.losses import LOSSES
from gust.scoring import bind_and_score
from gust.trained import build_network, load_network

IMAGES = 60
TINY = [
    "--train_objects", "2", "--images", str(IMAGES), "--encoder_widths", "24", "16",
    "--decoder_widths", "16", "24", "--window", "5", "--refractory", "4", "--noise", "0.4",
    "--iterations", "3", "--batch_size", "20", "--learning_rate", "0.01", "--milestones", "4=0.5",
    "--epochs", "6", "--score_every", "2", "--score_images", "4", "--settle", "3",
    "--device", "cpu", "--bfloat16", "false",
]  # fmt: skip
ALONE = Distributed(0, 1, torch.device("cpu"))


def tiny_settings(**training):
    training = {
        "images": IMAGES, "iterations": 3, "batch_size": 20, "noise": 0.4, "bfloat16": False,
        **training,
    }  # fmt: skip
    return gust_settings(
        {
            "train_objects": 2,
            "network": {"encoder_widths": [24, 16], "decoder_widths": [16, 24]},
            "dynamics": {"window": 5, "refractory": 4},
            "training": training,
        }
    )


def flags(folder, *more):
    out = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return [*TINY, *out, *more]


def finished(folder):
    return load_checkpoint(folder / "net.safetensors", model="gust")


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


# ---- an epoch -------------------------------------------------------------------------------


def direct_batch_loss(network, settings, indices, round_, seed, iterations=3):
    """The (B,) losses of images with noisy input, step by step."""
    noise = Noise(seed, round_, indices)
    clean = read_group(settings.dataset, "train_multi", indices=indices).images.flatten(1)
    draws, d = reference.PackageDraws(noise, 784), settings.dynamics
    noisy = clean * (draws.drops() >= settings.training.noise)
    spikes, feedback, _ = reference.simulate(
        noisy, network, d.window, d.refractory, d.thinning, iterations, draws,
    )  # fmt: skip
    loss = LOSSES[settings.training.loss]
    return loss.of_images(feedback[-1], spikes[-1].detach(), clean)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("loss", ["receptive_field_sum", "nem_loss"])
def test_an_epoch_is_its_equations(loss, backend, monkeypatch):
    """Three batches, the last one smaller, in parts of 7; a loss that adds up and a mean with
    spikes; plain gradient descent, in which a wrong scale shows."""
    monkeypatch.setitem(train.CHUNK, "cpu", 7)
    settings, seed, epoch = tiny_settings(loss=loss), 3, 4
    data = train.Data(settings)
    networks = [build_network(settings, generator(0, "network")) for _ in range(2)]
    steps = [torch.optim.SGD(network.parameters(), lr=0.1) for network in networks]
    value = train.Trainer(settings, data, seed, ALONE, backend).train_epoch(
        networks[0], steps[0], epoch
    )

    order = torch.randperm(54, generator=generator(seed, "epoch", epoch)).numpy()
    total = 0.0
    for batch in (order[:20], order[20:40], order[40:]):
        found = direct_batch_loss(
            networks[1], settings, batch, train.FIRST_EPOCH_ROUND + epoch, seed
        )
        total += found.sum().item()
        steps[1].zero_grad()
        (found.mean() if LOSSES[loss].averaged else found.sum()).backward()
        steps[1].step()
    expected = total / 54 if LOSSES[loss].averaged else total
    assert value == pytest.approx(expected, rel=1e-5)
    start = build_network(settings, generator(0, "network")).state_dict()
    for (name, one), other in zip(
        networks[0].state_dict().items(), networks[1].state_dict().values(), strict=True
    ):
        moved = (other - start[name]).abs().max().item()
        assert moved > 0, name
        assert (one - other).abs().max().item() < 1e-3 * moved + 1e-8, name


@pytest.mark.parametrize(("epoch", "iterations"), [(0, 3), (1, 3), (2, 5), (6, 5), (7, 2), (9, 2)])
def test_iterations_that_are_unrolled_follow_the_epoch(epoch, iterations):
    settings = tiny_settings(more_iterations={7: 2, 2: 5})
    trainer = train.Trainer(settings, train.Data(settings), 3, ALONE, "cpu")
    network = build_network(settings, generator(0, "network"))
    found = direct_batch_loss(
        network, settings, np.arange(54, 60), train.VALIDATION_ROUND, 3, iterations
    )
    assert trainer.validate(network, epoch) == pytest.approx(found.sum().item(), rel=1e-5)


def test_bfloat16_products_change_a_gradient_by_their_rounding(monkeypatch):
    """The paper's network: gradients of 60 images point the same way, and dense products differ."""
    monkeypatch.setattr("common.training.has_bfloat16", lambda device: True)
    found = []
    for wanted in (False, True):
        settings = gust_settings({"training": {"images": IMAGES, "bfloat16": wanted}})
        network = build_network(settings, generator(0, "network"))
        images = train.Data(settings).images.float()
        noise = Noise(3, 1, np.arange(IMAGES))
        train.loss_of(network, images, settings, noise, "cpu").backward()
        found.append(torch.cat([p.grad.flatten() for p in network.parameters()]))
    assert found[1].dtype == torch.float32
    assert not torch.equal(*found)
    assert torch.cosine_similarity(*found, dim=0) > 0.99


@pytest.mark.parametrize("loss", ["receptive_field_sum", "nem_loss_trivel"])
def test_the_validation_is_noised_alike_every_time(loss):
    settings = tiny_settings(loss=loss)
    trainer = train.Trainer(settings, train.Data(settings), 3, ALONE, "cpu")
    network = build_network(settings, generator(0, "network"))
    value = trainer.validate(network)
    found = direct_batch_loss(network, settings, np.arange(54, 60), train.VALIDATION_ROUND, 3)
    expected = found.mean() if LOSSES[loss].averaged else found.sum()
    assert value == pytest.approx(expected.item(), rel=1e-5)
    assert trainer.validate(network) == value
    assert all(parameter.grad is None for parameter in network.parameters())


def test_scores_in_training_are_those_of_clean_validation_images():
    settings = tiny_settings(score_images=4)
    trainer = train.Trainer(settings, train.Data(settings), 3, ALONE, "cpu")
    network = build_network(settings, generator(0, "network"))
    indices = np.arange(54, 58)
    images, groups = read_group(settings.dataset, "train_multi", indices=indices)
    expected = bind_and_score(images, groups, network, settings, 3, indices, 3)
    found = trainer.score(network)
    assert found["ami"] == pytest.approx(expected.ami.mean())
    assert found["synscore"] == pytest.approx(expected.synchrony.mean())


def test_images_without_a_pixel_of_any_object_alone_are_not_scored(monkeypatch):
    whole = read_group("shapes_multiobj_2_3", "train_multi", count=IMAGES)
    whole.groups[54] = 0  # the first of the validation
    monkeypatch.setattr(train, "read_group", lambda *_, **__: whole)
    data = train.Data(tiny_settings(score_images=4))
    assert data.scored.tolist() == [55, 56, 57, 58]
    assert torch.equal(data.to_score.images, whole.images[55:59])


def test_rounds_and_epochs_have_numbers_of_their_own():
    """Evaluation, validation and every epoch differ in noise; order differs between epochs."""
    rounds = [train.EVALUATION_ROUND, train.VALIDATION_ROUND, *range(train.FIRST_EPOCH_ROUND, 9)]
    assert len(set(rounds)) == len(rounds)
    settings = tiny_settings()
    trainer = train.Trainer(settings, train.Data(settings), 3, ALONE, "cpu")
    network = build_network(settings, generator(0, "network"))
    still = torch.optim.SGD(network.parameters(), lr=0.0)
    losses = [trainer.train_epoch(network, still, epoch) for epoch in (0, 1, 0)]
    assert losses[0] == losses[2] != losses[1]


# ---- runs -----------------------------------------------------------------------------------


def test_a_run_learns_and_tells_its_curve(whole):
    curve = whole.metadata["curve"]
    assert [line["epoch"] for line in curve] == [1, 2, 3, 4, 5, 6]
    assert curve[-1]["loss"] < 0.98 * curve[0]["loss"]
    assert [line["learning_rate"] for line in curve] == [0.01] * 4 + [0.005] * 2
    for line in curve:
        scored = line["epoch"] % 2 == 0
        assert ("ami" in line) == ("synscore" in line) == scored
    best = min(curve, key=lambda line: line["validation_loss"])
    assert whole.metadata["epoch"] == best["epoch"]
    assert whole.metadata["validation_loss"] == best["validation_loss"]


def test_a_checkpoint_says_where_it_comes_from(whole):
    metadata = whole.metadata
    assert (metadata["model"], metadata["seed"], metadata["epochs"]) == ("gust", 0, 6)
    assert metadata["seconds"] > 0
    assert metadata["command"]
    data = metadata["data"]
    assert (data["dataset"], data["group"]) == ("shapes_multiobj_2_3", "train_multi")
    assert data["images"] == IMAGES
    assert len(data["sha256"]) == 64
    assert metadata["settings"]["training"]["loss"] == "receptive_field_sum"
    trained = load_network(whole.path)
    assert trained.settings.training.iterations == 3
    assert trained.settings.training.milestones == {4: 0.5}
    assert trained.network.encoder[0].weight.shape == (24, 784)


def test_the_kept_network_is_the_one_that_was_validated(whole):
    settings = load_network(whole.path).settings
    trainer = train.Trainer(settings, train.Data(settings), 0, ALONE, "cpu")
    found = trainer.validate(load_network(whole.path).network)
    assert found == pytest.approx(whole.metadata["validation_loss"], rel=1e-6)


def test_a_run_repeats_itself_and_seeds_differ(whole, tmp_path):
    assert train.main(flags(tmp_path)) == 0
    same_training(finished(tmp_path), whole)
    assert not list((tmp_path / "partial").iterdir()), "the state of a finished run is removed"
    assert train.main(flags(tmp_path, "--seed", "1", "--overwrite")) == 0
    assert not torch.equal(
        finished(tmp_path).tensors["encoder.0.weight"], whole.tensors["encoder.0.weight"]
    )


@pytest.mark.parametrize("loss", [name for name in LOSSES if name != "receptive_field_sum"])
def test_every_loss_trains(loss, tmp_path):
    assert train.main(flags(tmp_path, "--loss", loss, "--epochs", "4")) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["settings"]["training"]["loss"] == loss
    assert metadata["curve"][-1]["loss"] < metadata["curve"][0]["loss"]


def test_training_stops_early(tmp_path):
    """At a rate of 0 no validation is better than the first."""
    assert train.main(flags(tmp_path, "--learning_rate", "0", "--patience", "2")) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["epoch"] == 1
    assert metadata["epochs"] == 3


@pytest.mark.parametrize("epochs", [1, 4, 6])
def test_ctrl_c_and_on(epochs, whole, tmp_path, monkeypatch, capsys):
    """After the first epoch, in the middle, and between the last epoch and the checkpoint."""
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, epochs)
        assert train.main(flags(tmp_path)) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "net.safetensors").exists()
    log = (tmp_path / "partial" / "gust_net.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in log] == whole.metadata["curve"][:epochs]
    assert train.main(flags(tmp_path)) == 0
    same_training(finished(tmp_path), whole)


def test_patience_is_remembered_over_an_interruption(tmp_path, monkeypatch):
    stuck = ["--learning_rate", "0", "--patience", "3"]
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, 3)
        assert train.main(flags(tmp_path, *stuck)) == 130
    assert train.main(flags(tmp_path, *stuck)) == 0
    assert finished(tmp_path).metadata["epochs"] == 4


def test_an_unfinished_run_is_not_mixed_with_another(whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, 2)
        assert train.main(flags(tmp_path)) == 130
    capsys.readouterr()
    for other, says in (
        (["--learning_rate", "0.004"], "training.learning_rate: 0.01 there, 0.004 here"),
        (["--seed", "3"], "seed: 0 there, 3 here"),
        (["--images", "50"], "training.images: 60 there, 50 here"),
        (["--milestones", "4=0.1"], "training.milestones.4: 0.5 there, 0.1 here"),
    ):
        text = error_of(capsys, train.main(flags(tmp_path, *other)))
        assert says in text
        assert "gust_net.pt" in text
        assert "--overwrite" in text
    assert train.main(flags(tmp_path)) == 0
    same_training(finished(tmp_path), whole)


def test_a_snapshot_shows_what_is_there_and_training_goes_on(whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, learner, 4)
        assert train.main(flags(tmp_path)) == 130
    capsys.readouterr()
    assert "seed: 0 there, 3 here" in error_of(
        capsys, train.main(flags(tmp_path, "--snapshot", "--seed", "3"))
    )
    assert train.main(flags(tmp_path, "--snapshot")) == 0
    so_far = finished(tmp_path).metadata
    assert "unfinished" in so_far["note"]
    assert so_far["epochs"] == 4 and "--snapshot" not in so_far["command"]
    assert so_far["curve"] == whole.metadata["curve"][:4]
    best = min(so_far["curve"], key=lambda line: line["validation_loss"])
    assert (so_far["epoch"], so_far["validation_loss"]) == (best["epoch"], best["validation_loss"])
    assert train.main(flags(tmp_path)) == 0
    same_training(finished(tmp_path), whole)
    capsys.readouterr()
    assert "no unfinished training" in error_of(capsys, train.main(flags(tmp_path, "--snapshot")))


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
    state = tmp_path / "partial" / "gust_net.pt"
    state.write_bytes(state.read_bytes()[:-500])
    assert "gust_net.pt" in error_of(capsys, train.main(flags(tmp_path)))


def test_a_finished_checkpoint_is_left_alone(tmp_path, capsys):
    short = ["--epochs", "2"]
    assert train.main(flags(tmp_path, *short)) == 0
    before = (tmp_path / "net.safetensors").read_bytes()
    capsys.readouterr()
    assert train.main(flags(tmp_path, *short)) == 0
    assert "--overwrite" in capsys.readouterr().out
    for other, says in (
        (["--epochs", "3"], "training.epochs: 2 there, 3 here"),
        ([*short, "--seed", "2"], "seed: 0 there, 2 here"),
    ):
        text = error_of(capsys, train.main(flags(tmp_path, *other)))
        assert says in text
        assert "net.safetensors" in text
    assert (tmp_path / "net.safetensors").read_bytes() == before
    assert train.main(flags(tmp_path, "--epochs", "3", "--overwrite")) == 0
    assert finished(tmp_path).metadata["epochs"] == 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--loss", "nonsense"], "receptive_field_sum"),
        (["--train_objects", "5"], "train_objects"),
        (["--backend", "nonsense"], "backend"),
        (["--backend", "cuda"], "cuda does not run on cpu"),
        (["--device", "tpu"], "tpu"),
        (["--seed", "-1"], "seed"),
        (["--images", "1"], "images"),
        (["--images", "9999999"], "images"),
        (["--noise", "1.5"], "noise"),
        (["--learning_rate", "1e38"], "loss"),
        (["--encoder_widths", "20", "10"], "encoder_widths"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_cannot_work(more, says, tmp_path, capsys):
    assert says in error_of(capsys, train.main(flags(tmp_path, *more)))
    assert not (tmp_path / "net.safetensors").exists()


def test_a_place_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    error_of(capsys, train.main(flags(tmp_path / "file")))


def test_the_reference_trains_the_same_network(whole, tmp_path):
    assert train.main(flags(tmp_path, "--backend", "reference", "--epochs", "2")) == 0
    for line, compiled in zip(
        finished(tmp_path).metadata["curve"], whole.metadata["curve"][:2], strict=True
    ):
        assert line == pytest.approx(compiled, rel=1e-4)


# ---- processes ------------------------------------------------------------------------------


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_killed_run_goes_on_exactly(tmp_path):
    """All in processes of their own: within a long test run one differed in the last digits."""
    long = ["--epochs", "60", "--patience", "60"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    line = [sys.executable, "-m", "gust.train"]
    place = {"env": environment(), "cwd": tmp_path}
    subprocess.run([*line, *flags(straight, *long)], check=True, **place)
    log = killed / "partial" / "gust_net.jsonl"
    command = [*line, *flags(killed, *long)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **place)
    try:
        after = random.randint(2, 15)
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
    subprocess.run(command, check=True, **place)
    same_training(finished(killed), finished(straight))
    assert [entry["epoch"] for entry in finished(killed).metadata["curve"]] == list(range(1, 61))


def free_url():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.slow
def test_two_processes_train_as_one(whole, tmp_path):
    """Sums of gradients are rounded in another order, which a flipped spike would amplify: so the
    first epochs only."""
    group = [
        "--dist_url",
        free_url(),
        "--world_size",
        "2",
        "--dist_timeout",
        "120",
        "--epochs",
        "3",
    ]
    command = [sys.executable, "-m", "gust.train", *flags(tmp_path, *group)]
    processes = [
        subprocess.Popen([*command, "--rank", rank], env=environment(), cwd=tmp_path)
        for rank in "01"
    ]
    try:
        assert [process.wait(240) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    curve = finished(tmp_path).metadata["curve"]
    assert len(curve) == 3
    for line, alone in zip(curve, whole.metadata["curve"][:3], strict=True):
        assert line == pytest.approx(alone, rel=1e-4)
