"""Cross-modal associations: samples, networks with stored and with computed spikes, trainings."""

from dataclasses import replace

import pytest
import torch
from hebbian_runs import check_questions, words
from torch.nn import functional

from common.checkpoints import load_checkpoint, save_checkpoint
from common.results import load_results
from common.training import generator
from hebbian_snn import (
    cross_modal_associations_task,
    plot_cross_modal_associations_task,
    pretrain_digit_classifier,
)
from hebbian_snn.config import task_settings
from hebbian_snn.convnets import conversion
from hebbian_snn.convnets.conversion import copy_weights
from hebbian_snn.convnets.digit_classifier import ClassifierTask
from hebbian_snn.convnets.encoders import ConvolutionalEncoder
from hebbian_snn.convnets.front_end import features
from hebbian_snn.figures import cross_modal as cross_modal_figure
from hebbian_snn.kernels import lif_scan
from hebbian_snn.plasticity import update_memory
from hebbian_snn.tasks.cross_modal import MODALITIES, CrossModalSettings, CrossModalTask
from hebbian_snn.training.command import task_parser
from hebbian_snn.training.trained import load_network

ORIGINAL_FLAGS = words("""--sequence_length 3 --train_classes 0 1 2 3 4 --test_classes 5 6 7 8 9
    --dataset_size 10000 --num_mfcc 20 --num_mfcc_time_samples 30 --image_protonet_path PATH
    --audio_protonet_path PATH --data_seed 42 --num_time_steps 100 --embedding_size 64
    --memory_size 100 --w_max 1.0 --gamma_pos 0.3 --gamma_neg 0.3 --tau_trace 20.0
    --readout_delay 1 --thr 0.05 --perfect_reset --refractory_time_steps 3 --tau_mem 20.0
    --dampening_factor 1.0 --epochs 120 --batch_size 256 --learning_rate 0.001
    --learning_rate_decay 0.85 --decay_learning_rate_every 20 --max_grad_norm 40.0 --l2 1e-7
    --target_rate 0.0 --resume PATH --check_params 1 --evaluate --seed 3 --gpu 0""")

SMALL = words("""--data embedded --channels 6 --num_time_steps 20 --memory_size 10
    --dataset_size 12 --validation_size 6 --test_size 8 --batch_size 6 --threshold_images 10
    --image_pool 100 --epochs 2 --device cpu""")

LOW = {
    "learn_if_thresholds": False,
    "audio_if_thresholds": [0.3, 0.2, 0.1, 0.1],
    "image_if_thresholds": [0.3, 0.2, 0.1, 0.1],
}
"""Thresholds at which the encoders fire within the few steps of these tests."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two classifiers, trained for a moment, and a folder for stored spikes."""
    folder = tmp_path_factory.mktemp("digits")
    paths = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conversion, "FOLDER", folder / "stored")
        patch.setattr("hebbian_snn.convnets.spike_cache.FOLDER", folder / "stored")
        for modality in MODALITIES:
            paths[modality] = folder / f"{modality}.safetensors"
            flags = words("--data embedded --channels 6 --epochs 1 --bfloat16 0 --device cpu")
            out = ["--out", str(paths[modality]), "--partial", str(folder)]
            audio = ["--audio", str(int(modality == "audio"))]
            assert pretrain_digit_classifier.main([*flags, *audio, *out]) == 0
        yield paths


SHIPPED_TWIN = {
    "network": {"memory_size": 10, "values_relu": True},
    "decoder": {"decoder_bias": False, "decoder_sigmoid": False},
}
"""With the encoder's :data:`SHIPPED_CNN`, how the twins were trained that are shipped."""

SHIPPED_CNN = {"use_pretrained_protonet": True, "use_batch_norm": False}


def small_task(trained, seed=0, relu=False, dataset=None, sections=None, **cnn):
    overrides = {
        "dataset": {
            "data": "embedded",
            "num_time_steps": 20,
            "dataset_size": 12,
            "validation_size": 6,
            "test_size": 8,
            **(dataset or {}),
        },
        "cnn": {
            "channels": 6,
            "threshold_images": 10,
            "image_protonet_path": str(trained["image"]),
            "audio_protonet_path": str(trained["audio"]),
            **cnn,
        },
        "network": {"memory_size": 10},
        "training": {"batch_size": 6},
        **(sections or {}),
    }
    return CrossModalTask(task_settings(CrossModalSettings, "cross_modal", relu, overrides), seed)


def run(folder, trained, *more):
    out = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    paths = ["--image_protonet_path", str(trained["image"])]
    paths += ["--audio_protonet_path", str(trained["audio"])]
    return cross_modal_associations_task.main([*SMALL, *paths, *out, *more])


def test_all_flags_of_the_original_scripts_are_taken():
    args = task_parser(CrossModalTask, None).parse_args(ORIGINAL_FLAGS)
    assert args.test_classes == [5, 6, 7, 8, 9]


# ---- samples --------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [False, True])
def test_the_query_is_heard_again_and_its_image_is_wanted(fixed, trained):
    task = small_task(trained, dataset={"test_classes": [2, 5, 7, 8], "fixed_episodes": fixed})
    for split in ("train", "validation", "test"):
        (spoken, images, query), targets = task.batch(split, 0, range(6), slice(None))
        assert spoken.shape == (6, 3, 30, 20) and query.shape == (6, 30, 20)
        assert images.shape == (6, 3, 28, 28) and targets.shape == (6, 784)
        assert images.min() >= 0 and images.max() <= 1 and targets.max() > 0.9
        place = (images.flatten(2) == targets[:, None]).all(2)
        assert (place.sum(1) == 1).all()
        if split == "train" and not fixed:
            continue
        drawn = task.samples(split)
        audio = task.digits("audio", split).labels
        if split != "train":  # training is shuffled
            asked = audio[drawn.spoken[:6]][place]
            assert torch.equal(asked, audio[drawn.query[:6]])
            heard = spoken[place]
            assert ((heard - query).flatten(1).abs().amax(1) > 0).all(), "another recording"
        digits = set(audio[drawn.spoken].flatten().tolist())
        assert digits <= ({2, 5, 7, 8} if split == "test" else set(range(10)))


@pytest.mark.parametrize(
    ("pairing", "same", "permuted"),
    [("any", False, False), ("same", True, True), ("permuted", False, True)],
)
def test_pairs_of_the_test(pairing, same, permuted, trained):
    task = small_task(trained, dataset={"test_size": 50, "test_pairing": pairing})
    spoken, images, _, _ = task.samples("test")
    heard, seen = task.digits("audio", "test").labels[spoken], task.digits("image", "test").labels
    seen = seen[images]
    assert torch.equal(heard, seen) == same
    assert torch.equal(heard.sort(1).values, seen.sort(1).values) == permuted


def test_training_episodes_are_drawn_anew(trained):
    """From the pool, with the digits heard in another order; the same again for the same epoch."""
    task = small_task(
        trained, dataset={"image_pool": 120, "dataset_size": 60}, freeze_protonet=True
    )
    epochs = [task._episodes("train", epoch, range(60)) for epoch in (0, 1, 0)]
    assert torch.equal(epochs[0].images, epochs[2].images)
    assert not torch.equal(epochs[0].images, epochs[1].images)
    used = epochs[0].images.unique()
    assert len(used) > 60 and set(used.tolist()) <= set(task._pool.tolist())
    assert len(task._pool) == 120
    heard = task.digits("audio", "train").labels[epochs[0].spoken]
    seen = task.digits("image", "train").labels[epochs[0].images]
    assert torch.equal(heard.sort(1).values, seen.sort(1).values)


def test_batches_are_functions_of_their_samples(trained):
    task = small_task(trained, dataset={"fixed_episodes": True})
    for split in ("train", "validation", "test"):
        whole = task.batch(split, 2, range(6), slice(None))
        part = task.batch(split, 2, range(6), slice(2, 5))
        assert all(torch.equal(a[2:5], b) for a, b in zip(whole.inputs, part.inputs, strict=True))
        assert torch.equal(part.targets, whole.targets[2:5])
        other = task.batch(split, 3, range(6), slice(None))
        assert torch.equal(whole.targets, other.targets) == (split != "train")
        fewer = task.batch(split, 2, range(6), slice(None), pairs=2)
        assert fewer.inputs[0].shape[:2] == fewer.inputs[1].shape[:2] == (6, 2)
        assert torch.equal(fewer.targets, whole.targets)
        assert torch.equal(fewer.inputs[2], whole.inputs[2])
        place = (fewer.inputs[1].flatten(2) == fewer.targets[:, None]).all(2)
        assert (place.sum(1) == 1).all(), "the image that is wanted is among them"
        once = (whole.inputs[1].flatten(2) == fewer.targets[:, None]).all(2)
        assert torch.equal(fewer.inputs[0][place], whole.inputs[0][once]), "with its recording"
    order = [task.batch("train", 1, range(k, k + 6), slice(None)).targets for k in (0, 6)]
    fixed = [task.batch("train", 2, range(k, k + 6), slice(None)).targets for k in (0, 6)]
    sums = [torch.cat(parts).sum(1).sort().values for parts in (order, fixed)]
    torch.testing.assert_close(*sums)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_several_questions_of_one_memory(frozen, relu, trained):
    low = {**LOW, "freeze_protonet": frozen}
    one, more = (small_task(trained, relu=relu, **low) for _ in "ab")
    training = replace(more.settings.training, queries=3)
    more.settings = replace(more.settings, training=training)
    check_questions(one, more)


def test_further_questions_are_other_recordings_of_their_digit(trained):
    task = small_task(trained, freeze_protonet=False, dataset={"dataset_size": 60})
    training = replace(task.settings.training, queries=2)
    task.settings = replace(task.settings, training=training)
    digits = task.digits("audio", "train")
    (spoken, images, query), targets = task.batch("train", 0, range(30), slice(None))
    for q, (heard, wanted) in enumerate(zip(query, targets, strict=True)):
        (place,) = (images[q // 2].flatten(1) == wanted).all(1).nonzero()[:, 0]
        same = (digits.images == heard).flatten(1).all(1)
        shown = (digits.images == spoken[q // 2, place]).flatten(1).all(1)
        assert digits.labels[same].unique() == digits.labels[shown].unique()
        assert not (same & shown).any()


# ---- networks -------------------------------------------------------------------------------


def test_stored_spikes_answer_as_computed_ones(trained):
    stored = small_task(trained, freeze_protonet=True, **LOW)
    computed = small_task(trained, freeze_protonet=False, **LOW)
    memory = stored.build(generator(0, "start"))
    whole = computed.build(generator(0, "start"))
    missing, unknown = whole.load_state_dict(memory.state_dict(), strict=False)
    assert not unknown and all(name.split(".")[0] in MODALITIES for name in missing)
    packed = stored.batch("test", 0, range(8), slice(None))
    images = computed.batch("test", 0, range(8), slice(None))
    assert packed.inputs[0].shape == (8, 3, 20, 1) and packed.inputs[0].dtype == torch.uint8
    assert torch.equal(packed.targets, images.targets)
    with torch.no_grad():
        one, two = memory(*packed.inputs), whole(*images.inputs)
        spikes, _, decoded = whole.activity(*images.inputs)
        kept, _, _ = memory.activity(*packed.inputs)
    assert spikes["audio"].shape == spikes["images"].shape == (8, 60, 6)
    assert all(torch.equal(spikes[name], kept[name]) and spikes[name].any() for name in spikes)
    torch.testing.assert_close(one.outputs, two.outputs)
    silent = ["write_keys", "write_values", "read_keys", "read_values", "hidden", "pixels"]
    assert list(one.rates) == silent
    assert sorted(two.rates) == sorted([*silent, "audio", "images", "query"])
    assert decoded["pixels"].shape == (8, 20, 784)


def test_the_image_is_the_decoders_spike_count(trained):
    task = small_task(trained, freeze_protonet=True, **LOW)
    network = task.build(generator(0, "start"))
    with torch.no_grad():
        for weight in (network.hidden.weight, network.pixels.weight):
            weight.abs_()
        inputs, _ = task.batch("test", 0, range(8), slice(None))
        _, recalled, _ = network.activity(*inputs)
        values = recalled.read["values"]
        values.copy_((torch.rand(values.shape, generator=generator(1)) < 0.2).float())
        neuron = task.settings.network.neuron
        hidden, _ = lif_scan(values @ network.hidden.weight.T, neuron, backend="reference")
        pixels, _ = lif_scan(hidden @ network.pixels.weight.T, neuron, backend="reference")
        assert pixels.any()
        network.memory.forward = lambda *_: recalled
        torch.testing.assert_close(network(*inputs).outputs, pixels.sum(1) / 15)


@pytest.mark.parametrize("shipped", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_twin_step_by_step(frozen, shipped, trained):
    """As in the paper's code, and as the shipped ones: no biases, ReLU values and pixels."""
    more = {"sections": SHIPPED_TWIN, **SHIPPED_CNN} if shipped else {}
    task = small_task(trained, relu=True, freeze_protonet=frozen, **more)
    network = task.build(generator(0, "start")).eval()
    (spoken, images, query), _ = task.batch("test", 0, range(8), slice(None))
    assert spoken.shape == ((8, 3, 6) if frozen else (8, 3, 30, 20))
    hear, see = ((lambda x: x),) * 2 if frozen else (network.audio, network.image)
    with torch.no_grad():
        mem = torch.zeros(8, 10, 10)
        for k in range(3):
            item = torch.cat([hear(spoken[:, k]), see(images[:, k])], 1)
            key, value = (item @ network.memory.write.weight.T).relu().chunk(2, 1)
            mem = update_memory(mem, value, key, task.settings.network.plasticity)
        key = (hear(query) @ network.memory.read.weight.T).relu()
        value = (mem @ key[:, :, None])[:, :, 0]
        if shipped:
            image = ((value.relu() @ network.hidden.T).relu() @ network.pixels.T).relu()
        else:
            hidden = (value @ network.hidden.T + network.hidden_bias).relu()
            image = (hidden @ network.pixels.T + network.pixels_bias).sigmoid()
        torch.testing.assert_close(network(spoken, images, query).outputs, image)


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_twins_activities_are_shares_of_the_largest(modality, trained):
    task = small_task(trained, relu=True, freeze_protonet=True, **SHIPPED_CNN)
    plain = ConvolutionalEncoder(6, generator(0))
    copy_weights(task.pretrained(modality), plain)
    images = task._balancing(modality)
    assert len(images) == 10
    shares = features(task._relu_encoder(modality, generator(0)), images)
    activities = features(plain, images)
    assert activities.max() > 0 and shares.max() == pytest.approx(1)
    torch.testing.assert_close(shares, activities / activities.max())


# ---- training -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        "--freeze_protonet",
        "--freeze_protonet 0",
        "--freeze_protonet --relu --use_pretrained_protonet --use_batch_norm 0",
        "--relu",
    ],
)
def test_small_trainings(more, trained, tmp_path, capsys):
    assert run(tmp_path, trained, *words(more)) == 0
    metadata = load_checkpoint(tmp_path / "net.safetensors").metadata
    data = metadata["data"]
    assert data["task"] == "cross_modal"
    assert data["audio"]["source"] == "embedded tones"
    assert data["image"]["source"] == "MNIST, 5 000 images"
    for modality in MODALITIES:
        found = data[modality]["cnn"]
        begun = None if more == "--relu" else load_checkpoint(trained[modality]).sha256
        assert found["checkpoint"] == begun
        assert "--relu" in words(more) or len(found["thresholds"]) == 4
    best = min(line["validation_mse"] for line in metadata["curve"])
    assert metadata["validation"]["mse"] == best
    if "relu" not in more:
        assert all(line["rate_term"] >= 0 for line in metadata["curve"])
    capsys.readouterr()
    assert run(tmp_path, trained, *words(more), "--evaluate") == 0
    assert f"mse {metadata['test']['mse']:.4g}" in capsys.readouterr().out
    loaded = load_network(CrossModalTask, tmp_path / "net.safetensors")
    assert loaded.task.checkpoint_name.startswith("cross_modal_")


def test_another_classifier_beneath_a_frozen_memory_is_refused(trained, tmp_path, capsys):
    assert run(tmp_path, trained, "--freeze_protonet") == 0
    source = load_checkpoint(trained["audio"])
    tensors = {name: x + 0.5 for name, x in source.tensors.items()}
    save_checkpoint(tmp_path / "audio.safetensors", tensors, source.metadata)
    other = {**trained, "audio": tmp_path / "audio.safetensors"}
    assert run(tmp_path, other, "--freeze_protonet", "--evaluate") == 1
    said = capsys.readouterr().err
    assert f"(audio.cnn.checkpoint: {source.sha256} there" in said and "image.cnn" not in said


def test_the_classifiers_must_be_there(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hebbian_snn.convnets.front_end.CHECKPOINTS", tmp_path)
    out = ["--out", str(tmp_path / "net.safetensors"), "--partial", str(tmp_path)]
    assert cross_modal_associations_task.main([*SMALL, *out]) == 3
    says = "python -m hebbian_snn.pretrain_digit_classifier --audio --data embedded makes it"
    assert says in capsys.readouterr().err


def test_the_loss_is_the_mean_squared_error(trained):
    outputs, targets = torch.rand(3, 784), torch.rand(3, 784)
    losses = small_task(trained).losses(outputs, targets)
    torch.testing.assert_close(losses.mean(), functional.mse_loss(outputs, targets))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("--train_classes 1 2", "train_classes are 1, 2; give different digits"),
        ("--test_classes 1 1 2 3", "test_classes are 1, 1, 2, 3; give different digits"),
        ("--test_classes 1 2 10", "test_classes"),
        ("--channels 16", "does not hold the encoder that is wanted"),
        ("--audio_protonet_path missing.safetensors", "there is no checkpoint missing"),
        ("--learn_if_thresholds 0 --audio_if_thresholds 1", "4 thresholds above 0 are needed"),
    ],
)
def test_flags_that_cannot_work(more, says, trained, tmp_path, capsys):
    assert run(tmp_path, trained, "--freeze_protonet", *words(more)) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ") and says in line
    assert not (tmp_path / "net.safetensors").exists()


# ---- figures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_networks(trained, tmp_path_factory):
    """Paths of a spiking network and of its twin, both trained for a moment."""
    folder = tmp_path_factory.mktemp("networks")
    paths = []
    for name, more in (("spiking", []), ("twin", ["--relu"])):
        assert run(folder / name, trained, "--freeze_protonet", *more) == 0
        paths.append((folder / name / "net.safetensors").rename(folder / f"{name}.safetensors"))
    return paths


def test_the_figure_compares_all_on_the_same_samples(two_networks, trained, tmp_path):
    networks = [str(path) for path in two_networks]
    assert cross_modal_figure.main(["--networks", *networks, "--out", str(tmp_path)]) == 0
    _, arrays = load_results(tmp_path)
    spiking, twin = "spiking network, frozen encoder", "ReLU twin, frozen encoder"
    references = ["mean training image", "the images wanted"]
    rows = [spiking, f"{spiking}, no memory", f"{spiking}, same digits", twin]
    assert arrays["series"].tolist() == [*references, *rows, f"{twin}, same digits"]
    mse = dict(zip(arrays["series"].tolist(), arrays["mse"], strict=True))
    data = {"test_size": 200, "test_pairing": "any"}
    task = small_task(trained, dataset=data, freeze_protonet=True)
    batch = task.batch("test", 0, range(200), slice(None))
    with torch.no_grad():
        outputs = load_network(CrossModalTask, two_networks[0]).network(*batch.inputs).outputs
    assert mse[spiking] == pytest.approx(functional.mse_loss(outputs, batch.targets).item())
    silent = batch.targets.square().mean().item()
    assert mse[f"{spiking}, no memory"] == pytest.approx(silent), "nothing is drawn"
    mean = task.digits("image", "train").images.float().mean(0).flatten() / 255
    assert mse["mean training image"] == pytest.approx((mean - batch.targets).pow(2).mean().item())
    # The classifier sees the images wanted as in its own data.
    classifier = load_network(ClassifierTask, trained["image"])
    _, images, _, asked = task.samples("test")
    wanted = images[torch.arange(200), asked]
    found = task.digits("image", "test")
    with torch.no_grad():
        seen = classifier.network(found.images[wanted]).outputs.argmax(1) == found.labels[wanted]
    assert arrays["recognised"][1] == pytest.approx(100 * seen.float().mean().item())
    assert arrays["drawn"].shape == (4, 28, 28) and arrays["images"].shape == (4, 3, 28, 28)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_activity_of_a_trial(two_networks, tmp_path, capsys):
    plot = ["--checkpoint_path", str(two_networks[0]), "--sample", "3", "--out", str(tmp_path)]
    assert plot_cross_modal_associations_task.main(plot) == 0
    _, arrays = load_results(tmp_path)
    assert arrays["spikes-audio"].shape == (60, 6) and arrays["spikes-pixels"].shape == (20, 784)
    assert arrays["spoken"].shape == (3, 30, 20) and arrays["asked"] in arrays["heard"]
    assert plot_cross_modal_associations_task.main([*plot, "--sample", "-1"]) == 1
    assert "there are 0 to 7" in capsys.readouterr().err
