"""The bAbI task: its batches, its networks, and small trainings on generated stories."""

import pytest
import torch
from hebbian_runs import command, finished, free_url, same_training, start, words
from interruption import interrupt_after

from common.checkpoints import load_training_state, save_checkpoint, save_training_state
from common.errors import NotThereError
from common.training import generator
from datasets.babi_stories import STORIES
from hebbian_snn import question_answering_task
from hebbian_snn.config import task_settings
from hebbian_snn.kernels import lif_scan, read_memory, write_memory
from hebbian_snn.layers import SentenceEncoding
from hebbian_snn.plasticity import update_memory
from hebbian_snn.rates import firing_rates, rate_penalty
from hebbian_snn.tasks import question_answering
from hebbian_snn.tasks.question_answering import QuestionAnsweringSettings, QuestionAnsweringTask
from hebbian_snn.training import loop as supervised

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


def small_task(relu=False, training=None, **dataset):
    overrides = {**SMALL, "dataset": {**SMALL["dataset"], **dataset}}
    overrides["training"] = {**SMALL["training"], **(training or {})}
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


def told(batch, padding="pre"):
    """Of every question the sentences before it, itself and its answer, as lists of words."""
    (stories, lengths, questions, story_of), targets = batch
    length_of = {}
    for story, length in zip(story_of.tolist(), lengths.tolist(), strict=True):
        length_of[story] = max(length, length_of.get(story, 0))
    found = []
    for q, story in enumerate(story_of.tolist()):
        real = stories[story, -length_of[story] :] if padding == "pre" else stories[story]
        before = real[: int(lengths[q])].tolist()
        found.append((before, questions[q].tolist(), int(targets[q])))
    return found


@pytest.mark.parametrize("padding", ["pre", "post"])
def test_parts_of_a_batch_make_the_batch(padding):
    task = small_task(padding=padding)
    for split in ("train", "validation", "test"):
        whole = task.batch(split, 2, range(8, 20), slice(None))
        parts = [task.batch(split, 2, range(8, 20), part) for part in (slice(5), slice(5, 12))]
        assert told(whole, padding) == [*told(parts[0], padding), *told(parts[1], padding)]
        if padding == "pre":
            assert all(part.inputs[0].shape[1] == part.inputs[1].max() for part in parts)
        other = task.batch(split, 3, range(8, 20), slice(None))
        assert torch.equal(whole.targets, other.targets) == (split != "train")


def epoch_of(task, epoch=1):
    """The questions of an epoch, batch by batch."""
    batches = task.batches("train", epoch)
    return [q for b in batches for q in told(task.batch("train", epoch, b, slice(None)))]


def stored_questions(task):
    train = task.stories.train
    every = torch.arange(len(train.answers))
    return told(((train.stories, train.lengths, train.questions, every), train.answers))


def test_every_question_comes_once_an_epoch():
    task = small_task(task=15)
    assert task.sizes() == {"train": 900, "validation": 100, "test": 1000}
    shown = epoch_of(task)
    stored = stored_questions(task)
    assert shown != stored
    assert sorted(shown) == sorted(stored)


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
    network, ((stories, lengths, questions, _), _) = doubled(task, range(5))
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
    network, ((stories, lengths, questions, _), targets) = doubled(task, range(20), backend=backend)
    assert len(set(lengths.tolist())) > 3
    answers = []
    for padding, group in ((0, 16), (4, 1000), (0, 3)):
        monkeypatch.setattr(question_answering, "GROUP", group)
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


def test_stories_of_similar_lengths_go_together(monkeypatch):
    monkeypatch.setattr(question_answering, "GROUP", 3)
    sizes = question_answering.group_sizes
    assert sizes([2, 2, 3, 3, 3, 8, 10, 11, 12, 40]) == [3, 2, 3, 1, 1]
    assert sizes([0]) == [1] and sizes([4] * 7) == [3, 3, 1]


def test_padding_at_the_end_is_kept():
    """There the memory forgets and the neurons calm down, which changes answers."""
    task = small_task(task=1, padding="post")
    network, ((stories, lengths, questions, _), _) = doubled(task)
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
    network, ((stories, lengths, questions, _), _) = doubled(task, range(6))
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


# ---- several questions of one story ---------------------------------------------------------


def answered(network, inputs, targets):
    """Outputs, rates and gradients of a loss on all of them."""
    network.zero_grad()
    outputs, rates = network(*inputs)
    loss = torch.nn.functional.cross_entropy(outputs, targets)
    if rates:
        loss = loss + 1e-3 * rate_penalty(list(rates.values()))
    loss.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    return {"outputs": outputs, **rates, **gradients}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, one in found.items():
        assert one.norm() > 0, name
        assert (one - expected[name]).norm() <= 1e-9 * expected[name].norm(), name


def one_by_one(stories, lengths, questions, story_of):
    """The same questions, each with a copy of what was told before it."""
    copies = torch.zeros(len(lengths), *stories.shape[1:], dtype=stories.dtype)
    for q, (story, length) in enumerate(zip(story_of, lengths, strict=True)):
        after = int(lengths[story_of == story].max() - length)
        copies[q, after:] = stories[story, : stories.shape[1] - after]
    return copies, lengths, questions


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("number", sorted(STORIES))
def test_a_story_is_written_once_for_all_of_its_questions(number, relu):
    task = small_task(relu, {"share_stories": True, "batch_size": 30}, task=number)
    samples = task.batches("train", 1)[0]
    network, _ = doubled(task)
    with torch.no_grad():
        for weight in network.parameters():  # many spikes
            weight *= 2
    inputs, targets = task.batch("train", 1, samples, slice(None))
    assert len(targets) >= 30
    assert len(inputs[0]) < len(targets) or number in (4, 16, 19)
    expected = answered(network, one_by_one(*inputs), targets)
    same(answered(network, inputs, targets), expected)


@pytest.mark.parametrize("group", [2, 16])
@pytest.mark.parametrize("relu", [False, True])
def test_odd_places_of_questions(relu, group, monkeypatch):
    """Before the first sentence, several after the same one, none at the end of the longest."""
    monkeypatch.setattr(question_answering, "GROUP", group)
    network, (inputs, _) = doubled(small_task(relu, task=2), range(30))
    words = inputs[0][inputs[1].argsort()[-4:], -6:]
    assert words[:, :, 0].all()
    story_of = torch.tensor([3, 0, 1, 0, 2, 0, 0, 3])
    lengths = torch.tensor([0, 0, 1, 2, 5, 2, 4, 6])
    stories = torch.zeros_like(words)
    for story, length in enumerate((4, 1, 5, 6)):
        stories[story, 6 - length :] = words[story, :length]
    asked = (stories, lengths, inputs[2][:8], story_of)
    targets = torch.arange(1, 9)
    found = answered(network, asked, targets)
    same(found, answered(network, one_by_one(*asked), targets))
    if not relu:  # and spike by spike
        shared, one = network.activity(*asked)[1], network.activity(*one_by_one(*asked))[1]
        assert torch.equal(shared.read["values"], one.read["values"])
        for q, story in enumerate(story_of):
            steps = int(lengths[q]) * STEPS
            begin = (6 - int(lengths[story_of == story].max())) * STEPS
            spikes = shared.written["values"][story, begin : begin + steps]
            assert torch.equal(spikes, one.written["values"][q, 6 * STEPS - steps :])


@pytest.mark.parametrize(("split", "shared"), [("train", False), ("validation", True)])
def test_evaluation_always_shares_and_training_when_asked(split, shared):
    inputs, targets = small_task().batch(split, 0, range(100), slice(None))
    assert (len(inputs[0]) < len(targets)) == shared
    sharing = small_task(training={"share_stories": True})
    inputs, targets = sharing.batch(split, 0, range(100), slice(None))
    assert len(inputs[0]) < len(targets)


@pytest.mark.parametrize("option", [{"add_time_words": True}, {"padding": "post"}])
def test_nothing_is_shared_where_beginnings_differ(option):
    task = small_task(training={"share_stories": True}, **option)
    for split in ("train", "test"):
        inputs, targets = task.batch(split, 0, range(100), slice(None))
        assert len(inputs[0]) == len(targets)


def test_batches_of_whole_stories():
    task = small_task(training={"share_stories": True, "batch_size": 32}, task=20)
    batches = task.batches("train", 3)
    assert [b.start for b in batches[1:]] == [b.stop for b in batches[:-1]]
    stories = task.stories.train.story.unique(return_counts=True)[1]
    for samples in batches[:-1]:
        assert 32 <= len(samples) < 32 + stories.max()
    shown = epoch_of(task, 3)
    assert sorted(shown) == sorted(stored_questions(task))
    assert shown != epoch_of(task, 4)
    seen = [len(task.batch("train", 3, b, slice(None)).inputs[0]) for b in batches]
    assert sum(seen) == len(stories)
    # A story with more questions than a batch is divided.
    task = small_task(training={"share_stories": True, "batch_size": 3}, task=20)
    assert {len(b) for b in task.batches("train", 0)} <= {3, 4, 5}
    assert sorted(epoch_of(task, 0)) == sorted(shown)


# ---- training -------------------------------------------------------------------------------


def run(folder, *more, task=question_answering_task):
    """Train in ``folder``; the exit status."""
    files = ["--out", str(folder / "net.safetensors"), "--partial", str(folder / "partial")]
    return task.main([*TRAIN, *files, *more])


@pytest.mark.parametrize("more", [[], ["--share_stories", "--task", "1"]])
def test_interrupted_training_is_the_uninterrupted_one(more, tmp_path, monkeypatch):
    assert run(tmp_path / "a", *more) == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, supervised, 2)
        assert run(tmp_path / "b", *more) == 130
    assert run(tmp_path / "b", *more) == 0
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
    # Generated stories in the words of the official ones are related, and named.
    there = finished(tmp_path)
    there.metadata["data"]["source"] = "bAbI v1.2 en"
    save_checkpoint(tmp_path / "net.safetensors", there.tensors, there.metadata)
    assert run(tmp_path, "--evaluate") == 0
    assert "1000 test samples of embedded stories: cross" in capsys.readouterr().out
    # Words are numbers of a vocabulary, so other stories cannot be read.
    there.metadata["data"]["words"] += 1
    save_checkpoint(tmp_path / "net.safetensors", there.tensors, there.metadata)
    assert run(tmp_path, "--evaluate") == NotThereError.status
    assert "was trained on other data (words: " in capsys.readouterr().err
    there.metadata["data"]["source"] = "told by my grandmother"
    save_checkpoint(tmp_path / "net.safetensors", there.tensors, there.metadata)
    assert run(tmp_path, "--evaluate") == NotThereError.status
    says = "was trained on other data: told by my grandmother, not embedded stories"
    assert says in capsys.readouterr().err


def test_two_processes_take_the_steps_of_one_with_whole_stories(tmp_path):
    """Also where a story is divided between them."""
    flags = [*TRAIN, *words("--share_stories --task 1 --start_epoch 1 --epochs 2")]
    group = ["--dist_url", free_url(), "--world_size", "2", "--dist_backend", "gloo", "--rank"]
    processes = []
    for folder, more in (("one", []), ("two", [*group, "0"]), ("two", [*group, "1"])):
        files = ["--out", tmp_path / folder / "net.safetensors", "--partial", tmp_path / folder]
        line = command(*flags, *files, *more, module="question_answering_task")
        processes.append(start(line))
    assert [p.communicate(timeout=300)[1] and p.returncode for p in processes] == [0, 0, 0]
    one, two = (
        load_training_state(tmp_path / folder / "hebbian_snn_net_last.pt")
        for folder in ("one", "two")
    )
    assert one["curve"][-1]["rate_term"] > 0
    for name, tensor in one["network"].items():
        assert (tensor - two["network"][name]).abs().max() < 1e-5, name


def test_a_state_from_before_a_setting_was_there_goes_on(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, supervised, 1)
        assert run(tmp_path) == 130
    path = tmp_path / "partial" / "hebbian_snn_net.pt"
    state = load_training_state(path)
    del state["run"]["training"]["share_stories"]
    save_training_state(path, state)
    assert run(tmp_path) == 0


def test_training_ends_when_every_question_is_answered(tmp_path):
    assert run(tmp_path, "--stop_score", "0.0", "--stop_epochs", "2") == 0
    assert finished(tmp_path).metadata["epochs"] == 2


@pytest.mark.slow
def test_the_twin_learns_generated_stories(tmp_path):
    from hebbian_snn import question_answering_task_relu as twin

    more = words("--embedding_size 40 --memory_size 50 --batch_size 50 --epochs 6 --task 20")
    assert run(tmp_path, *more, task=twin) == 0
    metadata = finished(tmp_path).metadata
    assert metadata["settings"]["relu"]
    assert metadata["test"]["accuracy"] > 0.5  # the most frequent answer is right for 19 %


def test_unknown_tasks_are_one_sentence(tmp_path, capsys):
    assert run(tmp_path, "--task", "21") == 1
    assert "must be at most 20, not 21" in capsys.readouterr().err
