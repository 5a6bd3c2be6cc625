"""The bAbI task: its batches, its networks, and small trainings on generated stories."""

import pytest
import torch
from hebbian_runs import finished, same_training, words
from interruption import interrupt_after

from common.checkpoints import save_checkpoint
from common.errors import NotThereError
from common.training import generator
from hebbian_snn import question_answering_networks, question_answering_task, supervised
from hebbian_snn.config import task_settings
from hebbian_snn.kernels import lif_scan, read_memory, write_memory
from hebbian_snn.layers import SentenceEncoding
from hebbian_snn.plasticity import update_memory
from hebbian_snn.question_answering import QuestionAnsweringSettings, QuestionAnsweringTask
from hebbian_snn.rates import firing_rates

STEPS = 12
SMALL = {
    "dataset": {"data": "embedded", "ten_k": False, "sentence_duration": STEPS},
    "network": {"embedding_size": 9, "memory_size": 7, "readout_delay": 5, "thr": 0.02},
    "training": {"batch_size": 8},
}
TRAIN = words(
    f"""--data embedded --ten_k 0 --task 4 --sentence_duration {STEPS} --embedding_size 12
    --memory_size 9 --readout_delay 3 --batch_size 300 --epochs 3 --device cpu"""
)


@pytest.fixture(autouse=True)
def few_threads():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def small_task(relu=False, **dataset):
    overrides = {**SMALL, "dataset": {**SMALL["dataset"], **dataset}}
    settings = task_settings(QuestionAnsweringSettings, "question_answering", relu, overrides)
    return QuestionAnsweringTask(settings, 0)


def doubled(task, samples=range(40), **options):
    """A network of the task in double precision, and a batch."""
    network = task.build(generator(0, "start"), **options).double()
    with torch.no_grad():
        for weight in network.parameters():  # no two places of a sentence are alike
            weight *= 1 + 0.1 * torch.rand(weight.shape, generator=generator(1, "x")).double()
    return network, task.batch("train", 0, samples, slice(None))


# ---- batches --------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_parts_of_a_batch_make_the_batch(padding):
    task = small_task(padding=padding)
    for split in ("train", "validation", "test"):
        whole = task.batch(split, 2, range(8, 20), slice(None))
        parts = [task.batch(split, 2, range(8, 20), part) for part in (slice(5), slice(5, 12))]
        stories = whole.inputs[0]
        for part, rows in zip(parts, (slice(5), slice(5, 12)), strict=True):
            longest = part.inputs[0].shape[1]
            if padding == "pre":
                assert longest == part.inputs[1].max()
                assert torch.equal(part.inputs[0], stories[rows, -longest:])
                assert not stories[rows, :-longest].any()
            else:
                assert torch.equal(part.inputs[0], stories[rows])
        for tensor, *pieces in zip(
            (*whole.inputs[1:], whole.targets),
            *((*p.inputs[1:], p.targets) for p in parts),
            strict=True,
        ):
            assert torch.equal(tensor, torch.cat(pieces))
        other = task.batch(split, 3, range(8, 20), slice(None))
        assert torch.equal(whole.targets, other.targets) == (split != "train")


def test_every_question_comes_once_an_epoch():
    task = small_task(task=15)
    assert task.sizes() == {"train": 900, "validation": 100, "test": 1000}
    stories = [task.batch("train", 1, range(k, k + 90), slice(None)) for k in range(0, 900, 90)]
    shown = torch.cat([torch.cat([b.inputs[0].flatten(1), b.inputs[2]], 1) for b in stories])
    stored = torch.cat([task.stories.train.stories.flatten(1), task.stories.train.questions], 1)
    assert not torch.equal(shown, stored)
    assert sorted(shown.tolist()) == sorted(stored.tolist())


@pytest.mark.parametrize(
    ("relu", "dataset", "name"),
    [
        (False, {}, "babi_1_1k_delay_5_embedded"),
        (False, {"task": 6, "ten_k": True}, "babi_6_delay_5_embedded"),
        (True, {"task": 20, "add_time_words": True}, "babi_relu_20_1k_time_words_embedded"),
    ],
)
def test_names_of_checkpoints(relu, dataset, name):
    assert small_task(relu, **dataset).checkpoint_name == name


# ---- networks -------------------------------------------------------------------------------


def test_the_network_is_the_specified_one():
    """The sum of embedded words times the weights of their places drives the encoding; sentences
    are written, the question is read from rest; sentence by sentence, each story by itself."""
    task = small_task(task=6)
    network, ((stories, lengths, questions), _) = doubled(task, range(5))
    neuron, rule = task.settings.network.neuron, task.settings.network.plasticity
    weights = dict(network.named_parameters())
    places = weights["sentences.encoding"]
    expected, rates = [], []
    for story, length, question in zip(stories, lengths, questions, strict=True):
        sentences = [story[-k] for k in range(int(length), 0, -1)]
        currents = [
            sum(places[w] * weights["words.weight"][word] for w, word in enumerate(items) if word)
            for items in (*sentences, question)
        ]
        facts = lif_scan(
            torch.stack(currents[:-1])[None], neuron, num_time_steps=STEPS, backend="reference"
        )[0]
        asked = lif_scan(
            currents[-1][None, None], neuron, num_time_steps=STEPS, backend="reference"
        )[0]
        key, value = (facts @ weights["memory.write.weight"].T).chunk(2, -1)
        written = write_memory(
            key, value, neuron=neuron, plasticity=rule, tau_trace=20.0, backend="reference"
        )
        ask = weights["memory.read.weight"]
        read = read_memory(
            asked @ ask[:, :9].T,
            ask[:, 9:],
            written.mem,
            neuron=neuron,
            delay=5,
            backend="reference",
        )
        expected.append(read.value_spikes[:, -30:].sum(1) @ weights["output.weight"].T)
        trains = [(facts, length), (written.key_spikes, length), (asked, 1), (read.key_spikes, 1)]
        rates.append([firing_rates(x, STEPS, int(n))[0] for x, n in trains])
    outputs, found = network(stories, lengths, questions)
    torch.testing.assert_close(outputs, torch.cat(expected))
    assert outputs.abs().max() > 0
    for name, rate in zip(
        ("story", "write_keys", "question", "read_keys"), zip(*rates, strict=True), strict=True
    ):
        torch.testing.assert_close(found[name], torch.stack(rate))
    assert set(found) == {
        *("story", "question", "write_keys", "write_values", "read_keys", "read_values")
    }


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_padding_in_front_costs_nothing_and_changes_nothing(backend, monkeypatch):
    """Groups of stories of similar lengths, without padding, against all with all padding."""
    task = small_task(task=2)
    network, ((stories, lengths, questions), targets) = doubled(task, range(20), backend=backend)
    assert len(set(lengths.tolist())) > 3
    answers = []
    for padding, group in ((0, 16), (4, 1000), (0, 3)):
        monkeypatch.setattr(question_answering_networks, "GROUP", group)
        padded = torch.nn.functional.pad(stories, (0, 0, padding, 0))
        network.zero_grad()
        network.padded_in_front = padding == 0
        outputs, rates = network(padded, lengths, questions)
        loss = torch.nn.functional.cross_entropy(outputs, targets)
        (loss + sum((rate.mean(0) ** 2).mean() for rate in rates.values())).backward()
        answers.append([outputs, *rates.values(), *(p.grad for p in network.parameters())])
    for other in answers[1:]:
        for a, b in zip(answers[0], other, strict=True):
            torch.testing.assert_close(a, b)
    assert all(part.abs().max() > 0 for part in answers[0])


def test_padding_at_the_end_is_kept():
    """There the memory forgets and the neurons calm down, which changes answers."""
    task = small_task(task=1, padding="post")
    network, ((stories, lengths, questions), _) = doubled(task)
    assert not network.padded_in_front
    assert stories.shape[1] == task.stories.train.stories.shape[1]
    rates = network(stories, lengths, questions).rates
    cut = network(stories[:, : int(lengths.max()) - 1], lengths, questions).rates
    assert not torch.equal(rates["story"], cut["story"])


@pytest.mark.parametrize(
    ("options", "trained"),
    [
        ({}, "all"),
        ({"add_time_words": True}, "all but the last"),
        ({"add_time_words": True, "mask_time_words": False}, "all"),
        ({"learn_encoding": False}, "none"),
    ],
)
@pytest.mark.parametrize("relu", [False, True])
def test_which_weights_of_places_are_trained(options, trained, relu):
    task = small_task(relu, task=1, **options)
    network, (inputs, targets) = doubled(task)
    torch.nn.functional.cross_entropy(network(*inputs).outputs, targets).backward()
    gradient = network.sentences.encoding.grad
    if trained == "none":
        assert gradient is None
    else:
        rows = gradient.abs().sum(1) > 0
        assert rows[:-1].sum() >= 4
        assert rows[-1] == (trained == "all" and "add_time_words" in options) or not options
    assert not network.words.weight.grad[0].any()
    assert network.words.weight.grad[1:].abs().max() > 0


def test_sentence_encoding_starts_at_ones_and_keeps_its_last_row():
    layer = SentenceEncoding(3, 2, keep_last=True)
    assert torch.equal(layer.encoding, torch.ones(3, 2))
    layer(torch.ones(4, 3, 2)).sum().backward()
    assert layer.encoding.grad.tolist() == [[4, 4], [4, 4], [0, 0]]


def test_the_twin_is_the_specified_one():
    task = small_task(relu=True, task=6)
    network, ((stories, lengths, questions), _) = doubled(task, range(6))
    weights = dict(network.named_parameters())

    def encoded(sentences):
        places = weights["sentences.encoding"]
        return (weights["words.weight"][sentences] * places).sum(-2).relu()

    assert task.settings.network.gamma_pos == 0.1
    mem = torch.zeros(6, 7, 7, dtype=torch.float64)
    for item in encoded(stories).unbind(1):
        key, value = (item @ weights["memory.write.weight"].T).relu().chunk(2, 1)
        mem = update_memory(mem, value, key, task.settings.network.plasticity)
    key = (encoded(questions) @ weights["memory.read.weight"].T).relu()
    value = torch.einsum("bij,bj->bi", mem, key).relu()
    outputs, rates = network(stories, lengths, questions)
    torch.testing.assert_close(outputs, value @ weights["output.weight"].T)
    assert rates == {} and outputs.abs().max() > 0


# ---- training -------------------------------------------------------------------------------


def run(folder, *more, task=question_answering_task):
    """Train in ``folder``; the exit status."""
    files = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return task.main([*TRAIN, *files, *more])


def test_interrupted_training_is_the_uninterrupted_one(tmp_path, monkeypatch):
    assert run(tmp_path / "a") == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, supervised, 2)
        assert run(tmp_path / "b") == 130
    assert run(tmp_path / "b") == 0
    same_training(tmp_path / "a", tmp_path / "b")
    metadata = finished(tmp_path / "a").metadata
    assert metadata["data"]["source"] == "embedded stories"
    assert metadata["data"]["task"] == "question_answering" and metadata["data"]["words"] > 10
    assert 0 <= metadata["test"]["accuracy"] <= 1 and len(metadata["curve"]) == 3
    assert metadata["curve"][0]["rate_term"] == 0 < metadata["curve"][1]["rate_term"]


def test_evaluation_and_flags_that_differ(tmp_path, capsys):
    assert run(tmp_path, "--epochs", "1") == 0
    score = finished(tmp_path).metadata["test"]["accuracy"]
    assert run(tmp_path, "--evaluate") == 0
    assert "1000 test samples: cross entropy" in (said := capsys.readouterr().out)
    assert f"accuracy {score:.4g}" in said
    assert run(tmp_path, "--evaluate", "--readout_delay", "4", "--learn_readout_delay") == 1
    assert "--readout_delay: 3 there, 4 here" in capsys.readouterr().err
    # Words are numbers of a vocabulary, so other stories cannot be read.
    there = finished(tmp_path)
    there.metadata["data"]["source"] = "bAbI v1.2 en"
    save_checkpoint(tmp_path / "net.safetensors", there.tensors, there.metadata)
    assert run(tmp_path, "--evaluate") == NotThereError.status
    says = "was trained on other data (source: bAbI v1.2 en there, embedded stories here)"
    assert says in capsys.readouterr().err


def test_training_ends_when_every_question_is_answered(tmp_path):
    assert run(tmp_path, "--stop_score", "0.0", "--stop_epochs", "2") == 0
    assert finished(tmp_path).metadata["epochs"] == 2


@pytest.mark.slow
def test_the_twin_learns_generated_stories(tmp_path):
    from hebbian_snn import question_answering_task_relu as twin

    more = words("--embedding_size 40 --memory_size 50 --batch_size 50 --epochs 30 --task 4")
    assert run(tmp_path, *more, task=twin) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["settings"]["relu"]
    assert metadata["test"]["accuracy"] > 0.5  # the more frequent of two rooms is chance


def test_tasks_that_cannot_be_had_are_one_sentence(tmp_path, capsys):
    assert run(tmp_path, "--task", "7") == 1
    assert "task 7 (counting) has no generated stories" in capsys.readouterr().err
    assert run(tmp_path, "--task", "21") == 1
    assert "must be at most 20, not 21" in capsys.readouterr().err
