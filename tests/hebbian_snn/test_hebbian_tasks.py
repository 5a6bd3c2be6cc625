"""The data of the associations task, the networks, and the sums of the training loop."""

import pytest
import torch
from hebbian_examples import relative
from hebbian_runs import check_questions
from torch.nn import functional

from common.distributed import Distributed
from common.training import generator
from hebbian_snn.config import task_settings
from hebbian_snn.kernels import lif_scan, read_memory, write_memory
from hebbian_snn.plasticity import update_memory
from hebbian_snn.rates import firing_rates, rate_penalty
from hebbian_snn.tasks.associations import AssociationsSettings, AssociationsTask, draw_pairs
from hebbian_snn.training.loop import Trainer
from hebbian_snn.training.task import correct, shuffled

ALONE = Distributed(0, 1, torch.device("cpu"))
SMALL = {
    "dataset": {"sequence_length": 3, "num_classes": 5, "num_time_steps": 12, "training_size": 50},
    "network": {"embedding_size": 9, "memory_size": 7, "readout_delay": 2, "thr": 0.02},
    "training": {"batch_size": 8, "curriculum": None},
}


def small_task(relu=False, seed=0, training=None, **dataset):
    overrides = {**SMALL, "dataset": {**SMALL["dataset"], **dataset}}
    overrides["training"] = {**SMALL["training"], **(training or {})}
    return AssociationsTask(
        task_settings(AssociationsSettings, "associations", relu, overrides), seed
    )


# ---- data -----------------------------------------------------------------------------------


def test_pairs_are_as_described():
    data = small_task().settings.dataset
    (vectors, labels, query), targets = draw_pairs(4000, data, generator(0, "x"))
    assert vectors.shape == (4000, 3, 10)
    assert 0 <= vectors.min() < 0.001
    assert 0.999 < vectors.max() < 1
    assert all(len(set(row)) == 3 for row in labels.tolist())
    counts = torch.bincount(labels.flatten(), minlength=5) / labels.numel()
    assert (counts - 0.2).abs().max() < 0.02
    asked = (vectors == query[:, None]).all(2)
    assert asked.sum() == 4000
    assert torch.equal(labels[asked], targets)
    assert (asked.float().mean(0) - 1 / 3).abs().max() < 0.04


def test_parts_of_a_batch_make_the_batch_and_epochs_differ():
    for inf_data in (True, False):
        task = small_task(inf_data=inf_data)
        for split in ("train", "validation", "test"):
            whole = task.batch(split, 2, range(8, 16), slice(None))
            parts = [task.batch(split, 2, range(8, 16), part) for part in (slice(3), slice(3, 8))]
            for tensor, *pieces in zip(
                (*whole.inputs, whole.targets),
                *((*p.inputs, p.targets) for p in parts),
                strict=True,
            ):
                assert torch.equal(tensor, torch.cat(pieces))
            other = task.batch(split, 3, range(8, 16), slice(None))
            assert torch.equal(whole.inputs[0], other.inputs[0]) == (split != "train")


@pytest.mark.parametrize("inf_data", [True, False])
@pytest.mark.parametrize("relu", [False, True])
def test_several_questions_of_one_memory(relu, inf_data):
    one, three = (
        small_task(relu, training={"queries": queries}, inf_data=inf_data) for queries in (1, 3)
    )
    check_questions(one, three, torch.float64, 1e-9)
    (vectors, labels, query), targets = three.batch("train", 0, range(8), slice(None), pairs=2)
    assert len(query) == len(targets) == 16
    alone = one.batch("train", 0, range(8), slice(None), pairs=2)
    assert torch.equal(alone.inputs[1], labels) and torch.equal(alone.targets, targets[::2])
    for q, (vector, label) in enumerate(zip(query, targets, strict=True)):
        place = (labels[q // 2] == label).nonzero()[0, 0]
        assert torch.equal(vectors[q // 2, place], vector)


def test_a_curriculum_counts_all_questions():
    task = small_task(training={"queries": 3, "curriculum": 0.9})
    network = task.build(generator(0, "start"))
    trainer = Trainer(task, network, ALONE)
    trainer.train_epoch(torch.optim.Adam(network.parameters(), 1e-3), 0)
    assert trainer.curriculum.pairs == 1 and len(trainer.curriculum.scores) == 7
    trainer.curriculum.pairs = 2
    trainer.train_epoch(torch.optim.Adam(network.parameters(), 1e-3), 1)
    assert max(trainer.curriculum.scores) <= 1


def test_stored_training_samples_come_once_an_epoch():
    order = torch.cat([shuffled(20, 0, 1, range(k, k + 5)) for k in range(0, 20, 5)])
    assert sorted(order.tolist()) == list(range(20))
    assert order.tolist() != list(range(20))


def test_seeds():
    """``seed`` is of training batches, ``dataset_seed`` of the fixed ones."""

    def first(split, **options):
        return small_task(**options).batch(split, 0, range(4), slice(None)).inputs[0]

    assert not torch.equal(first("train"), first("train", seed=1))
    assert torch.equal(first("test"), first("test", seed=1))
    assert not torch.equal(first("test"), first("test", dataset_seed=1))
    assert not torch.equal(first("test"), first("validation"))


@pytest.mark.parametrize(
    ("changes", "relu", "name"),
    [
        ({}, False, "associations_3_of_5"),
        ({"num_classes": 3}, False, "associations_3"),
        ({"num_classes": 3}, True, "associations_relu_3"),
    ],
)
def test_names_of_checkpoints(changes, relu, name):
    assert small_task(relu, **changes).checkpoint_name == name


# ---- networks -------------------------------------------------------------------------------


def test_the_network_is_the_specified_one():
    """Encoding with E times the embedding, writing both, reading with the query from rest, and the
    value spikes of the last 30 steps; the query is not written."""
    task = small_task()
    network = task.build(generator(0, "start"))
    (vectors, labels, query), _ = task.batch("train", 0, range(8), slice(None))
    neuron = task.settings.network.neuron
    weights = dict(network.named_parameters())
    facts = vectors @ weights["vectors.weight"].T
    names = weights["labels.weight"][labels]
    asked = (query @ weights["vectors.weight"].T)[:, None]
    trains = [
        lif_scan(9 * x, neuron, num_time_steps=12, backend="reference")[0]
        for x in (facts, names, asked)
    ]
    heard = torch.cat(trains[:2], 2) @ weights["memory.write.weight"].T
    written = write_memory(
        heard[..., :7],
        heard[..., 7:],
        neuron=neuron,
        plasticity=task.settings.network.plasticity,
        tau_trace=20.0,
        backend="reference",
    )
    ask = weights["memory.read.weight"]
    read = read_memory(
        trains[2] @ ask[:, :9].T,
        ask[:, 9:],
        written.mem,
        neuron=neuron,
        delay=2,
        backend="reference",
    )
    expected = read.value_spikes[:, -30:].sum(1) @ weights["output.weight"].T
    outputs, rates = network(vectors, labels, query)
    torch.testing.assert_close(outputs, expected)
    assert outputs.abs().max() > 0
    spikes = {
        "vectors": (trains[0], 3),
        "labels": (trains[1], 3),
        "query": (trains[2], 1),
        "write_keys": (written.key_spikes, 3),
        "write_values": (written.value_spikes, 3),
        "read_keys": (read.key_spikes, 1),
        "read_values": (read.value_spikes, 1),
    }
    assert rates.keys() == spikes.keys()
    for name, (train, items) in spikes.items():
        torch.testing.assert_close(rates[name], firing_rates(train, 12, items))


def test_the_twin_is_the_specified_one():
    task = small_task(relu=True)
    network = task.build(generator(0, "start"))
    (vectors, labels, query), _ = task.batch("train", 0, range(8), slice(None))
    weights = dict(network.named_parameters())
    facts = (vectors @ weights["vectors.weight"].T).relu()
    names = weights["labels.weight"][labels].relu()
    mem = torch.zeros(8, 7, 7)
    for item in torch.cat([facts, names], 2).unbind(1):
        key, value = (item @ weights["memory.write.weight"].T).relu().chunk(2, 1)
        mem = update_memory(mem, value, key, task.settings.network.plasticity)
    assert task.settings.network.plasticity == (1.0, 0.1, 0.1)
    key = ((query @ weights["vectors.weight"].T).relu() @ weights["memory.read.weight"].T).relu()
    value = (mem @ key[:, :, None])[:, :, 0].relu()
    outputs, rates = network(vectors, labels, query)
    torch.testing.assert_close(outputs, value @ weights["output.weight"].T)
    assert rates == {}


def test_without_growth_nothing_is_remembered():
    task = AssociationsTask(
        task_settings(
            AssociationsSettings,
            "associations",
            False,
            {**SMALL, "network": {**SMALL["network"], "gamma_pos": 0.0}},
        ),
        0,
    )
    inputs, _ = task.batch("train", 0, range(8), slice(None))
    assert task.build(generator(0, "start"))(*inputs).outputs.abs().max() == 0
    assert task.checkpoint_name == "associations_3_of_5_no_memory"


# ---- loop -----------------------------------------------------------------------------------


def test_ties_are_wrong():
    outputs = torch.tensor([[0.0, 0, 0], [1, 2, 0], [2, 2, 0], [-1, -2, -3]])
    assert correct(outputs, torch.tensor([0, 1, 1, 0])).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_step_is_one_of_adam_on_loss_and_rates(epoch):
    task = small_task()
    network = task.build(generator(0, "start"))
    direct = task.build(generator(0, "start"))
    optimizers = [torch.optim.Adam(net.parameters(), 0.01) for net in (network, direct)]
    trainer = Trainer(task, network, ALONE)
    found = trainer.train_epoch(optimizers[0], epoch)
    total = count = 0.0
    for batch in task.batches("train"):
        inputs, targets = task.batch("train", epoch, batch, slice(None))
        outputs, rates = direct(*inputs)
        loss = functional.cross_entropy(outputs, targets)
        total, count = total + loss.item() * len(targets), count + len(targets)
        if epoch > 0:
            loss = loss + 1e-5 * rate_penalty(list(rates.values()))
        optimizers[1].zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(direct.parameters(), 40.0)
        optimizers[1].step()
    assert count == 50
    assert found["cross_entropy"] == pytest.approx(total / count, rel=1e-5)
    assert (found["rate_term"] > 0) == (epoch > 0)
    start = task.build(generator(0, "start"))
    for one, other, before in zip(
        network.parameters(), direct.parameters(), start.parameters(), strict=True
    ):
        assert relative(one, before) > 1e-4
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_long_gradients_are_shortened():
    """With a norm of 1e-9 Adam's first step is its epsilon's: next to nothing."""
    for longest, moves in ((1e-9, False), (0.0, True)):
        settings = task_settings(
            AssociationsSettings,
            "associations",
            False,
            {
                **SMALL,
                "training": {**SMALL["training"], "batch_size": 50, "max_grad_norm": longest},
            },
        )
        task = AssociationsTask(settings, 0)
        network, start = (task.build(generator(0, "start")) for _ in range(2))
        Trainer(task, network, ALONE).train_epoch(torch.optim.Adam(network.parameters(), 1.0), 0)
        moved = (network.output.weight - start.output.weight).abs().max()
        assert (moved > 0.5) == moves


def test_evaluation_does_not_depend_on_batches():
    means = []
    for size in (7, 1000):
        task = AssociationsTask(
            task_settings(
                AssociationsSettings,
                "associations",
                False,
                {**SMALL, "training": {"batch_size": size}},
            ),
            0,
        )
        network = task.build(generator(0, "start"))
        means.append(Trainer(task, network, ALONE).evaluate("test"))
    assert means[0].pop("rates") == pytest.approx(means[1].pop("rates"))
    assert means[0] == pytest.approx(means[1])
