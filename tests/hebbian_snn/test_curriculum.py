"""Trainings that begin with few pairs, or with keys that fit each other."""

from dataclasses import replace

import pytest
import torch
from hebbian_runs import finished, last_state, run, same_training
from interruption import interrupt_after

from common.distributed import Distributed
from common.training import generator
from hebbian_snn.config import task_settings
from hebbian_snn.convnets.episodes import kept_places
from hebbian_snn.memory import HebbianMemory, ReLUMemory, share_keys
from hebbian_snn.tasks.associations import AssociationsSettings, AssociationsTask
from hebbian_snn.training import loop as supervised
from hebbian_snn.training.curriculum import STEPS, Curriculum
from hebbian_snn.training.loop import Trainer

EASY = ["--curriculum", "0", "--epochs", "8"]
"""Every score is enough: one pair for 25 of the steps (four an epoch), then two."""


def numbers_of_pairs(curriculum, scores):
    seen = []
    for score in scores:
        curriculum.add(score)
        seen.append(curriculum.pairs)
    return seen


def test_pairs_grow_by_a_quarter_when_the_last_steps_were_good():
    curriculum = Curriculum(0.5, 11)
    seen = numbers_of_pairs(curriculum, [1.0] * STEPS * 10)
    assert seen[::STEPS] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11]
    assert seen[STEPS - 2 : STEPS + 1] == [1, 2, 2]
    assert curriculum.complete and curriculum.state() == {"pairs": 11, "scores": []}


def test_the_mean_of_the_last_steps_counts():
    scores = [0.0] * 30 + [1.0] * 20
    seen = numbers_of_pairs(Curriculum(0.5, 3), scores)
    assert seen.index(2) == 30 + 12, "13 of the last 25 steps"
    lower = Curriculum(0.5, 3, higher_is_better=False)
    assert numbers_of_pairs(lower, scores)[STEPS - 2 : STEPS] == [1, 2]


def test_without_one_all_pairs_are_there_from_the_beginning():
    assert Curriculum(None, 4).complete and Curriculum(None, 4).pairs == 4
    assert Curriculum(0.9, 1).complete


def test_it_goes_on_from_its_state():
    scores = torch.rand(200, generator=generator(0)).tolist()
    whole, first = Curriculum(0.5, 9), Curriculum(0.5, 9)
    expected = numbers_of_pairs(whole, scores)
    assert len(set(expected)) > 2
    seen = numbers_of_pairs(first, scores[:77])
    seen += numbers_of_pairs(Curriculum(0.5, 9, state=first.state()), scores[77:])
    assert seen == expected


def test_kept_places_are_random_but_for_the_asked_one():
    asked = torch.randint(6, (5000,), generator=generator(0))
    kept = kept_places(asked, 6, 3, generator(1))
    assert kept.shape == (5000, 3)
    assert (kept.diff(dim=1) > 0).all() and kept.min() == 0 and kept.max() == 5
    assert (kept == asked[:, None]).any(1).all()
    others = kept[kept != asked[:, None]].bincount() / 10000
    assert (others - 1 / 6).abs().max() < 0.02
    assert torch.equal(kept_places(asked, 6, 6, generator(1)), torch.arange(6).expand(5000, -1))


@pytest.mark.parametrize("inf_data", [True, False])
def test_fewer_pairs_are_some_of_the_same_batch(inf_data):
    sizes = {"sequence_length": 5, "num_classes": 7, "training_size": 40, "inf_data": inf_data}
    task = AssociationsTask(
        task_settings(AssociationsSettings, "associations", False, {"dataset": sizes}), 0
    )
    samples, everything = range(10, 30), slice(None)
    (vectors, labels, query), targets = task.batch("train", 1, samples, everything)
    fewer = task.batch("train", 1, samples, everything, pairs=2)
    assert fewer.inputs[0].shape == (20, 2, 10) and fewer.inputs[1].shape == (20, 2)
    assert torch.equal(fewer.inputs[2], query) and torch.equal(fewer.targets, targets)
    for some, label, all_vectors, all_labels in zip(
        *fewer.inputs[:2], vectors, labels, strict=True
    ):
        places = (all_labels[None] == label[:, None]).int().argmax(1)
        assert torch.equal(all_labels[places], label) and torch.equal(all_vectors[places], some)
    assert (fewer.inputs[1] == targets[:, None]).any(1).all()
    part = task.batch("train", 1, samples, slice(3, 8), pairs=2)
    assert torch.equal(part.inputs[0], fewer.inputs[0][3:8])
    assert torch.equal(part.targets, targets[3:8])


def test_a_trainer_uses_it():
    sizes = {"sequence_length": 3, "num_classes": 3, "num_time_steps": 12, "training_size": 24 * 32}
    task = AssociationsTask(
        task_settings(
            AssociationsSettings,
            "associations",
            False,
            {"dataset": sizes, "training": {"curriculum": 0.0, "batch_size": 24}},
        ),
        0,
    )
    seen = []
    batch = task.batch

    def watched(*args, **kwargs):
        found = batch(*args, **kwargs)
        seen.append(found.inputs[0].shape[1])
        return found

    task.batch = watched
    network = task.build(generator(0, "start"))
    trainer = Trainer(task, network, Distributed(0, 1, torch.device("cpu")))
    line = trainer.train_epoch(torch.optim.Adam(network.parameters()), 0)
    assert seen == [1] * STEPS + [2] * (32 - STEPS)
    assert line["pairs"] == 2
    seen.clear()
    trainer.evaluate("validation")
    assert set(seen) == {3}, "tested with all pairs"


def test_a_resumed_training_goes_on_with_it(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(whole, *EASY) == 0
    assert [line["pairs"] for line in finished(whole).metadata["curve"]] == [1] * 6 + [2] * 2
    for epochs in (3, 6):
        with monkeypatch.context() as patch:
            interrupt_after(patch, supervised, epochs)
            assert run(cut, *EASY, "--overwrite") == 130
    assert run(cut, *EASY, "--overwrite") == 0
    same_training(cut, whole)
    assert last_state(cut)["curriculum"] == last_state(whole)["curriculum"]


@pytest.mark.parametrize("memory_type", [HebbianMemory, ReLUMemory])
def test_shared_keys_differ_only_by_what_else_is_heard(memory_type):
    size, asked = 12, 5
    settings = task_settings(AssociationsSettings, "associations", False, {})
    network = replace(settings.network, memory_size=size)
    before, after = (memory_type(9, asked, network, generator(0)) for _ in range(2))
    share_keys(after, 4.0)
    keys = after.write.weight[:size]
    assert torch.equal(keys[:, :asked], 4 * before.write.weight[:size, :asked])
    assert torch.equal(after.read.weight[:, :asked], keys[:, :asked])
    assert torch.equal(keys[:, asked:], before.write.weight[:size, asked:])
    assert torch.equal(after.write.weight[size:], before.write.weight[size:])
    assert torch.equal(after.read.weight[:, asked:], before.read.weight[:, asked:])


def test_a_training_starts_with_shared_keys_only_if_it_is_told_to(tmp_path):
    def keys(*flags):
        out = tmp_path / "_".join(flags)
        still = ["--epochs", "1", "--learning_rate", "0", *flags]
        assert run(out, *still) == 0
        tensors = finished(out).tensors
        written, asked = (tensors[f"memory.{layer}.weight"] for layer in ("write", "read"))
        size, n = len(asked), asked.shape[1] - len(asked)
        return written[:size, :n], asked[:, :n]

    written, asked = keys("--key_gain", "none")
    assert not torch.equal(written, asked)
    louder, shared = keys("--key_gain", "3")
    assert torch.equal(louder, shared) and torch.allclose(louder, 3 * written)
