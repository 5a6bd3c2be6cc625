"""One-shot learning: episodes, networks with stored and with computed spikes, small trainings."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hebbian_runs import check_questions, words

from common.checkpoints import load_checkpoint, save_checkpoint
from common.errors import NotThereError
from common.results import load_results
from common.training import generator
from datasets import omniglot_standin
from hebbian_snn import (
    omniglot_one_shot_task,
    plot_omniglot_one_shot_task,
    plot_omniglot_one_shot_task_relu,
    pretrain_protonet,
)
from hebbian_snn.config import task_settings
from hebbian_snn.convnets import conversion, protonet
from hebbian_snn.figures import comparison, trials
from hebbian_snn.figures import omniglot as omniglot_figure
from hebbian_snn.plasticity import update_memory
from hebbian_snn.tasks.omniglot import OmniglotSettings, OmniglotTask
from hebbian_snn.training.command import task_parser
from hebbian_snn.training.trained import check_sources, load_network

ORIGINAL_FLAGS = words("""--iterations 200 --pin_data_to_memory --use_pretrained_protonet 1
    --protonet_checkpoint_path PATH --freeze_protonet --learn_if_thresholds --fix_cnn_thresholds
    --sampler_seed 42 --dir PATH --num_time_steps 100 --embedding_size 64 --memory_size 100
    --w_max 1.0 --gamma_pos 0.3 --gamma_neg 0.3 --tau_trace 20.0 --readout_delay 1 --thr 0.1
    --perfect_reset --refractory_time_steps 3 --tau_mem 20.0 --dampening_factor 1.0 --epochs 200
    --batch_size 256 --learning_rate 0.001 --learning_rate_decay 0.85
    --decay_learning_rate_every 20 --max_grad_norm 40.0 --l2 1e-6 --target_rate 0.0
    --start_epoch 0 --resume PATH --check_params 1 --evaluate --logging --print_freq 1 --seed 3
    --gpu 0 --workers 4""")

SMALL = words("""--data embedded --channels 8 --num_time_steps 16 --embedding_size 8
    --memory_size 10 --num_classes 3 --iterations 2 --batch_size 6 --validation_size 6
    --test_size 8 --threshold_images 20 --epochs 2 --device cpu""")


LOW = [0.3, 0.3, 0.2, 0.2]
"""Thresholds of the encoder's blocks at which it fires within the few steps of these tests."""


@pytest.fixture(scope="module")
def few_characters(tmp_path_factory):
    """A small stand-in, an encoder trained on it for a moment, and a folder for stored spikes."""
    folder = tmp_path_factory.mktemp("few")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(omniglot_standin, "_CHARACTERS", {"train": 4, "val": 3, "test": 3})
        patch.setattr(conversion, "FOLDER", folder / "stored")
        patch.setattr("hebbian_snn.convnets.spike_cache.FOLDER", folder / "stored")
        protonet.characters.cache_clear()
        trained = folder / "protonet.safetensors"
        flags = words("""--data embedded --channels 8 --way 4 --iterations 8 --validation_size 4
            --test_size 4 --evaluated_way 3 --epochs 1 --bfloat16 0 --device cpu""")
        out = ["--out", str(trained), "--partial", str(folder)]
        assert pretrain_protonet.main([*flags, *out]) == 0
        yield trained
    protonet.characters.cache_clear()


SHIPPED_TWIN = {"use_pretrained_protonet": True, "use_batch_norm": False}
"""How the twin was trained that is shipped, whose values are rectified, too."""


def small_task(trained, seed=0, relu=False, dataset=None, network=None, **cnn):
    overrides = {
        "dataset": {
            "data": "embedded",
            "num_classes": 3,
            "num_time_steps": 16,
            "iterations": 2,
            "validation_size": 6,
            "test_size": 8,
            **(dataset or {}),
        },
        "cnn": {
            "channels": 8,
            "threshold_images": 20,
            "protonet_checkpoint_path": str(trained),
            **cnn,
        },
        "network": {"embedding_size": 8, "memory_size": 10, **(network or {})},
        "training": {"batch_size": 6},
    }
    return OmniglotTask(task_settings(OmniglotSettings, "omniglot", relu, overrides), seed)


def run(folder, trained, *more):
    out = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    path = ["--protonet_checkpoint_path", str(trained)]
    return omniglot_one_shot_task.main([*SMALL, *path, *out, *more])


def test_all_flags_of_the_original_scripts_are_taken():
    args = task_parser(OmniglotTask, None).parse_args(ORIGINAL_FLAGS)
    assert args.freeze_protonet is args.learn_if_thresholds is args.pin_data_to_memory is True


# ---- episodes -------------------------------------------------------------------------------


def test_the_query_is_another_drawing_of_the_wanted_class(few_characters):
    task = small_task(few_characters)
    for split, count in (("train", 16), ("validation", 12), ("test", 12)):
        (images, labels, query), targets = task.batch(split, 1, range(6), slice(None))
        assert images.shape == (6, 3, 28, 28) and query.shape == (6, 28, 28)
        assert labels.tolist() == [[0, 1, 2]] * 6
        all_ = task.images(split)
        assert len(all_) == 20 * count
        episodes = task.episodes(split, 1, range(6))
        asked = episodes.images[torch.arange(6), targets]
        assert torch.equal(asked // 20, episodes.query // 20) and (asked != episodes.query).all()
        assert torch.equal(query, all_[episodes.query])


def test_batches_are_functions_of_their_samples(few_characters):
    task = small_task(few_characters)
    for split in ("train", "validation", "test"):
        whole = task.batch(split, 2, range(6), slice(None))
        part = task.batch(split, 2, range(6), slice(2, 5))
        assert torch.equal(part.inputs[0], whole.inputs[0][2:5])
        assert torch.equal(part.targets, whole.targets[2:5])
        other = task.batch(split, 3, range(6), slice(None))
        assert torch.equal(whole.inputs[0], other.inputs[0]) == (split != "train")
        seed = small_task(few_characters, seed=1).batch(split, 2, range(6), slice(None))
        assert torch.equal(whole.inputs[0], seed.inputs[0]) == (split != "train")


def test_an_episode_may_have_fewer_classes(few_characters):
    task = small_task(few_characters)
    (images, _, query), targets = task.batch("train", 2, range(40), slice(None))
    fewer = task.batch("train", 2, range(40), slice(None), pairs=2)
    assert fewer.inputs[1].shape == (40, 2) and len(fewer.inputs[1].unique()) == 3
    assert torch.equal(fewer.inputs[0], images[torch.arange(40)[:, None], fewer.inputs[1]])
    assert (fewer.inputs[1] == targets[:, None]).any(1).all()
    assert torch.equal(fewer.inputs[2], query) and torch.equal(fewer.targets, targets)
    part = task.batch("train", 2, range(40), slice(9, 30), pairs=2)
    assert all(torch.equal(a[9:30], b) for a, b in zip(fewer.inputs, part.inputs, strict=True))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_several_questions_of_one_memory(frozen, relu, few_characters):
    low = {"learn_if_thresholds": False, "if_thresholds": LOW, "freeze_protonet": frozen}
    one, more = (small_task(few_characters, relu=relu, **low) for _ in "ab")
    training = replace(more.settings.training, queries=3)
    more.settings = replace(more.settings, training=training)
    check_questions(one, more)


def test_further_questions_are_other_drawings_of_classes_that_were_shown(few_characters):
    task = small_task(few_characters, freeze_protonet=False)
    training = replace(task.settings.training, queries=2)
    task.settings = replace(task.settings, training=training)
    (images, labels, query), targets = task.batch("train", 2, range(40), slice(None), pairs=2)
    for q, (drawing, label) in enumerate(zip(query, targets, strict=True)):
        shown = images[q // 2][labels[q // 2] == label]
        (number,) = (task.images("train") == drawing).flatten(1).all(1).nonzero()[:, 0].tolist()
        (other,) = (task.images("train") == shown).flatten(1).all(1).nonzero()[:, 0].tolist()
        assert number // 20 == other // 20 and number != other


# ---- networks -------------------------------------------------------------------------------


def test_training_loses_spikes_and_tests_do_not(few_characters):
    low = {"learn_if_thresholds": False, "if_thresholds": LOW, "freeze_protonet": True}
    whole = small_task(few_characters, **low)
    task = small_task(few_characters, **low)
    training = replace(task.settings.training, lost_spikes=0.5)
    task.settings = replace(task.settings, training=training)
    everything = slice(None)
    for split, epoch in (("train", 0), ("train", 1), ("validation", 0)):
        (seen, _, asked), _ = task.batch(split, epoch, range(6), everything)
        (all_seen, _, all_asked), _ = whole.batch(split, epoch, range(6), everything)
        for some, all_ in ((seen, all_seen), (asked, all_asked)):
            assert torch.equal(some & all_, some) and all_.any()
            assert torch.equal(some, all_) == (split != "train")
        part = task.batch(split, epoch, range(6), slice(2, 5)).inputs
        assert torch.equal(part[0], seen[2:5]) and torch.equal(part[2], asked[2:5])


def test_stored_spikes_answer_as_computed_ones(few_characters):
    """The memory on stored trains, and the whole network on the images of the same episodes."""
    low = {"learn_if_thresholds": False, "if_thresholds": LOW}
    stored = small_task(few_characters, freeze_protonet=True, **low)
    computed = small_task(few_characters, freeze_protonet=False, **low)
    memory = stored.build(generator(0, "start"))
    whole = computed.build(generator(0, "start"))
    weights = memory.state_dict()
    missing, unknown = whole.load_state_dict(weights, strict=False)
    assert not unknown and all(name.startswith("encoder.") for name in missing)
    packed = stored.batch("test", 0, range(8), slice(None))
    images = computed.batch("test", 0, range(8), slice(None))
    assert packed.inputs[0].shape == (8, 3, 16, 1) and packed.inputs[0].dtype == torch.uint8
    with torch.no_grad():
        one, two = memory(*packed.inputs), whole(*images.inputs)
        spikes, _ = whole.activity(*images.inputs)
        kept, _ = memory.activity(*packed.inputs)
    assert spikes["images"].shape == (8, 48, 8) and spikes["images"].any()
    assert all(torch.equal(spikes[name], kept[name]) for name in spikes)
    torch.testing.assert_close(one.outputs, two.outputs)
    silent = ["labels", "write_keys", "write_values", "read_keys", "read_values"]
    assert list(one.rates) == silent
    assert sorted(two.rates) == sorted([*silent, "images", "query"])
    assert all(torch.equal(one.rates[name], two.rates[name]) for name in silent)


def test_gradients_reach_the_encoder(few_characters):
    low = {"learn_if_thresholds": False, "if_thresholds": LOW}
    task = small_task(few_characters, freeze_protonet=False, fix_cnn_thresholds=False, **low)
    network = task.build(generator(0, "start"))
    (inputs, targets) = task.batch("train", 0, range(6), slice(None))
    outputs, rates = network(*inputs)
    (task.losses(outputs, targets).mean() + rates["query"].mean()).backward()
    for name, parameter in network.encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    fixed = small_task(few_characters, freeze_protonet=False).build(generator(0, "start"))
    assert not any(p.requires_grad for n, p in fixed.named_parameters() if n.endswith("thr"))


@pytest.mark.parametrize("shipped", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_twin_step_by_step(frozen, shipped, few_characters):
    """As in the paper's code, and as the shipped one, which rectifies the values read."""
    more = {"network": {"values_relu": True}, **SHIPPED_TWIN} if shipped else {}
    task = small_task(few_characters, relu=True, freeze_protonet=frozen, **more)
    network = task.build(generator(0, "start")).eval()
    (images, labels, query), _ = task.batch("test", 0, range(8), slice(None))
    assert images.shape == ((8, 3, 8) if frozen else (8, 3, 28, 28))
    encode = (lambda x: x) if frozen else network.encoder
    with torch.no_grad():
        found = network(images, labels, query).outputs
        mem = torch.zeros(8, 10, 10)
        for k in range(3):
            label = network.labels(labels[:, k]).relu()
            item = torch.cat([encode(images[:, k]), label], 1)
            key, value = (item @ network.memory.write.weight.T).relu().chunk(2, 1)
            mem = update_memory(mem, value, key, task.settings.network.plasticity)
        key = (encode(query) @ network.memory.read.weight.T).relu()
        value = (mem @ key[:, :, None])[:, :, 0]
        value = value.relu() if shipped else value
        torch.testing.assert_close(found, value @ network.output.weight.T)
    assert task.settings.network.gamma_pos == 0.1


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
def test_small_trainings(more, few_characters, tmp_path, capsys):
    assert run(tmp_path, few_characters, *words(more)) == 0
    metadata = load_checkpoint(tmp_path / "net.safetensors").metadata
    data = metadata["data"]
    assert (data["task"], data["source"], data["classes"]) == ("omniglot", "embedded strokes", 16)
    begun = None if more == "--relu" else load_checkpoint(few_characters).sha256
    assert data["cnn"]["checkpoint"] == begun
    assert data["cnn"]["trained"] == (more in ("--relu", "--freeze_protonet 0"))
    if "relu" not in more:
        assert len(data["cnn"]["thresholds"]) == 4 and data["cnn"]["threshold_images"] == 20
    accuracy = metadata["test"]["accuracy"]
    trained = load_network(OmniglotTask, tmp_path / "net.safetensors")
    assert trained.task.checkpoint_name.startswith("omniglot_")
    capsys.readouterr()
    assert run(tmp_path, few_characters, *words(more), "--evaluate") == 0
    assert f"accuracy {accuracy:.4g}" in capsys.readouterr().out


def save_other_weights(trained, path):
    """The same network with one weight that differs."""
    source = load_checkpoint(trained)
    tensors = {name: x.clone() for name, x in source.tensors.items()}
    next(iter(tensors.values())).view(-1)[0] += 0.5
    save_checkpoint(path, tensors, source.metadata)


def test_another_protonet_beneath_a_frozen_memory_is_refused(few_characters, tmp_path, capsys):
    """The file is replaced, so that no flag differs."""
    path = tmp_path / "protonet.safetensors"
    path.write_bytes(few_characters.read_bytes())
    assert run(tmp_path, path, "--freeze_protonet") == 0
    save_other_weights(few_characters, path)
    before, now = (load_checkpoint(x).sha256 for x in (few_characters, path))
    says = f"another convolutional network (cnn.checkpoint: {before} there, {now} here)"
    assert run(tmp_path, path, "--freeze_protonet", "--evaluate") == 1
    assert says in capsys.readouterr().err
    state = str(tmp_path / "partial" / "hebbian_snn_net_last.pt")
    more = ["--freeze_protonet", "--overwrite", "--epochs", "3", "--resume", state]
    assert run(tmp_path, path, *more) == 1
    assert says in capsys.readouterr().err
    assert run(tmp_path, path, "--freeze_protonet", "--evaluate", "--check_params", "0") == 0
    net, out = str(tmp_path / "net.safetensors"), ["--out", str(tmp_path / "out")]
    assert plot_omniglot_one_shot_task.main(["--checkpoint_path", net, *out]) == 1
    assert says in capsys.readouterr().err
    assert omniglot_figure.main(["--networks", net, *out]) == 1
    assert says in capsys.readouterr().err


def test_a_trained_encoder_is_in_its_own_checkpoint(few_characters, tmp_path):
    assert run(tmp_path, few_characters) == 0
    path = tmp_path / "protonet.safetensors"
    save_other_weights(few_characters, path)
    assert run(tmp_path, path, "--evaluate") == 0


def test_published_thresholds(few_characters, tmp_path):
    more = words("--freeze_protonet --learn_if_thresholds 0 --epochs 1")
    assert run(tmp_path, few_characters, *more) == 0
    data = load_checkpoint(tmp_path / "net.safetensors").metadata["data"]
    assert data["cnn"]["thresholds"] == [0.9151, 4.7120, 3.1376, 2.6661]
    assert data["cnn"]["threshold_images"] == 0


def test_the_last_threshold_is_a_share_of_the_balanced_one(few_characters):
    low, whole = (
        small_task(few_characters, freeze_protonet=True, last_threshold=share)
        for share in (0.5, 1.0)
    )
    found, balanced = (np.array(task.data_summary()["cnn"]["thresholds"]) for task in (low, whole))
    assert np.array_equal(found[:3], balanced[:3]) and found[3] == 0.5 * balanced[3]
    for task in (low, whole):
        encoder, about = task._frozen
        assert [block.thr.item() for block in encoder.blocks] == pytest.approx(about["thresholds"])


def test_the_protonet_must_be_there(tmp_path, capsys, monkeypatch, few_characters):
    monkeypatch.setattr("hebbian_snn.convnets.front_end.CHECKPOINTS", tmp_path)
    out = ["--out", str(tmp_path / "net.safetensors"), "--partial", str(tmp_path)]
    assert omniglot_one_shot_task.main([*SMALL, *out]) == 3
    says = "'protonet_embedded' to begin with; python -m hebbian_snn.pretrain_protonet --data emb"
    assert says in capsys.readouterr().err


def test_names_of_checkpoints(few_characters):
    assert small_task(few_characters).checkpoint_name == "omniglot_embedded"
    frozen = small_task(few_characters, relu=True, freeze_protonet=True)
    assert frozen.checkpoint_name == "omniglot_relu_frozen_embedded"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("--num_classes 13", "13 different ones cannot be drawn among 12"),
        ("--channels 16", "does not hold the encoder that is wanted"),
        ("--protonet_checkpoint_path missing.safetensors", "there is no checkpoint missing"),
        ("--learn_if_thresholds 0 --if_thresholds 1 2 3", "4 thresholds above 0 are needed"),
    ],
)
def test_flags_that_cannot_work(more, says, few_characters, tmp_path, capsys):
    assert run(tmp_path, few_characters, "--freeze_protonet", *words(more)) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ") and says in line
    assert not (tmp_path / "net.safetensors").exists()


# ---- figures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_networks(few_characters, tmp_path_factory):
    """Paths of a spiking network and of its twin, both trained for a moment."""
    folder = tmp_path_factory.mktemp("networks")
    paths = []
    for name, more in (("spiking", []), ("twin", ["--relu"])):
        assert run(folder / name, few_characters, "--freeze_protonet", *more) == 0
        paths.append((folder / name / "net.safetensors").rename(folder / f"{name}.safetensors"))
    return paths


def test_the_figure_compares_all_on_the_same_episodes(two_networks, few_characters, tmp_path):
    networks = [str(path) for path in two_networks]
    assert omniglot_figure.main(["--networks", *networks, "--out", str(tmp_path)]) == 0
    record, arrays = load_results(tmp_path)
    spiking, twin = "spiking network, frozen encoder", "ReLU twin, frozen encoder"
    assert arrays["series"].tolist() == ["ProtoNet", spiking, f"{spiking}, no memory", twin]
    found = dict(zip(arrays["series"].tolist(), arrays["accuracy"], strict=True))
    assert found[f"{spiking}, no memory"] == pytest.approx(100 / 3)
    assert all(m.n == 1000 and m.paper is None for m in record.measurements)
    task = small_task(few_characters, dataset={"test_size": 1000}, freeze_protonet=True)
    trained = load_network(OmniglotTask, two_networks[0])
    batch = task.batch("test", 0, range(1000), slice(None))
    with torch.no_grad():
        outputs = trained.network(*batch.inputs).outputs
    assert found[spiking] == pytest.approx(100 * task.scores(outputs, batch.targets).mean().item())
    # The nearest of the three images by the activities of the prototypical network.
    encoder = task.relu_encoder(generator(0))
    episodes = task.episodes("test", 0, range(1000))
    images = task.images("test")
    with torch.no_grad():
        one, five = encoder(images[episodes.query]), encoder(images[episodes.images.flatten()])
    nearest = torch.cdist(one[:, None], five.view(1000, 3, -1))[:, 0].argmin(1)
    right = 100 * (nearest == episodes.labels).float().mean().item()
    assert found["ProtoNet"] == pytest.approx(right, abs=1.01)  # ties
    assert arrays["images"].shape == (4, 3, 28, 28)
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_activity_of_an_episode(two_networks, tmp_path, capsys):
    plot = ["--checkpoint_path", str(two_networks[0]), "--sample", "3", "--out", str(tmp_path)]
    assert plot_omniglot_one_shot_task.main(plot) == 0
    _, arrays = load_results(tmp_path)
    assert arrays["spikes-images"].shape == (48, 8) and arrays["spikes-query"].shape == (16, 8)
    assert arrays["spikes-write_keys"].shape == (48, 10) and arrays["mem"].shape == (10, 10)
    assert arrays["images"].shape == (3, 28, 28) and arrays["query"].shape == (28, 28)
    twin = ["--checkpoint_path", str(two_networks[1]), "--out", str(tmp_path / "twin")]
    assert plot_omniglot_one_shot_task_relu.main(twin) == 0
    record, arrays = load_results(tmp_path / "twin")
    assert arrays["spikes-images"].shape == (3, 8) and arrays["spikes-query"].shape == (1, 8)
    assert arrays["spikes-images"].dtype == np.float32
    assert record.measurements[0].what == "mean activity of images"
    for more, says in (
        (["--sample", "8"], "there are 0 to 7"),
        (["--memory_size", "11"], "memory_size"),
    ):
        assert plot_omniglot_one_shot_task.main([*plot, *more]) == 1
        assert says in capsys.readouterr().err


def test_another_front_end_is_noticed(two_networks, few_characters, tmp_path, capsys):
    path = tmp_path / "other.safetensors"
    checkpoint = load_checkpoint(two_networks[0])
    metadata = checkpoint.metadata
    metadata["data"]["cnn"]["threshold_images"] += 1
    save_checkpoint(path, checkpoint.tensors, metadata)
    assert omniglot_figure.main(["--networks", str(path), "--out", str(tmp_path)]) == 1
    assert "was trained in another way (cnn.threshold_images" in capsys.readouterr().err


def test_a_checkpoint_knows_its_thresholds(two_networks, tmp_path, monkeypatch):
    """So nothing is balanced again where the data and the prototypical network are the same."""
    monkeypatch.setattr(conversion, "FOLDER", tmp_path / "nothing stored")
    monkeypatch.setattr(conversion, "balance_thresholds", None)
    trained = load_network(OmniglotTask, two_networks[0])
    check_sources(trained.task, trained.checkpoint)
    told = trained.checkpoint.metadata["data"]["cnn"]["thresholds"]
    for task in (trained.task, trained.task.altered(trained.task.settings)):
        encoder, about = task._frozen
        assert about["thresholds"] == told
        assert [float(block.thr) for block in encoder.blocks] == pytest.approx(told)


def test_without_networks_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hebbian_snn.figures.comparison.CHECKPOINTS", tmp_path)
    assert omniglot_figure.main(["--out", str(tmp_path), "--data", "embedded"]) == 3
    command = "python -m hebbian_snn.omniglot_one_shot_task --freeze_protonet --data embedded"
    assert command in capsys.readouterr().err


def test_networks_of_the_stand_in_are_shown_where_data_are_absent(tmp_path, capsys, monkeypatch):
    """What was trained on Omniglot cannot be tested without it."""
    asked, shown = [], []

    def networks_there(task_type, names, device):
        asked.append(list(names))
        if not names[0].endswith("_embedded"):
            raise NotThereError("trained on other data")
        return {names[0]: "a network"}, tuple(names[1:])

    def make(argv):
        return comparison.run_figure(
            omniglot_figure.FIGURE,
            "",
            ["omniglot_frozen", "omniglot"],
            (20, 100),
            lambda plan: (SimpleNamespace(measurements=[], plan=plan), {}),
            lambda plan, arrays: None,
            [*argv, "--out", str(tmp_path)],
        )

    monkeypatch.setattr(comparison, "networks_there", networks_there)
    monkeypatch.setattr(
        comparison, "report_results", lambda out, record, *_: shown.append(record.plan)
    )
    make([])
    assert asked == [[f"omniglot{x}{y}" for x in ("_frozen", "")] for y in ("", "_embedded")]
    (plan,) = shown
    assert plan.networks == {"omniglot_frozen_embedded": "a network"}
    assert not plan.missing, "stand-ins that nobody trained are not missed"
    assert "stand-ins are tested: trained on other data" in capsys.readouterr().out
    for more in (["--data", "real"], ["--networks", "omniglot_frozen"]):
        with pytest.raises(NotThereError):
            make(more)


def test_the_activity_of_the_stand_in_is_shown_where_data_are_absent(tmp_path, monkeypatch):
    shown, drawn = [], []

    def network_of(task_type, args):
        shown.append(args.checkpoint_path)
        if not args.checkpoint_path.endswith("_embedded"):
            raise NotThereError("trained on other data")
        return SimpleNamespace(task=None, checkpoint=None)

    monkeypatch.setattr(trials, "network_of", network_of)
    monkeypatch.setattr(trials, "need_shipped", lambda name: name)
    monkeypatch.setattr(trials, "check_sources", lambda task, checkpoint: None)
    monkeypatch.setattr(trials, "report_results", lambda *results: drawn.append(results))
    monkeypatch.setattr(trials, "network_file", lambda *name: tmp_path)

    def plot(*more):
        trials.plot_command(
            OmniglotTask,
            "",
            "omniglot_frozen",
            "activity",
            lambda *trial: (trial, {}),
            lambda record, arrays: None,
            [*more, "--out", str(tmp_path)],
        )

    plot()
    assert shown == ["omniglot_frozen", "omniglot_frozen_embedded"] and len(drawn) == 1
    for more in (["--data", "real"], ["--checkpoint_path", "omniglot_frozen"]):
        with pytest.raises(NotThereError):
            plot(*more)
    monkeypatch.setattr(trials, "network_file", lambda *name: tmp_path / "nothing")
    with pytest.raises(NotThereError):
        plot()
