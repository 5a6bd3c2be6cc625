"""Checkpoints and training states: what comes back, what is refused, what survives a crash."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from common import checkpoints
from common.checkpoints import (
    load_checkpoint,
    load_into,
    load_training_state,
    restore,
    save_checkpoint,
    save_training_state,
)
from common.errors import UserError
from common.files import sha256_of

METADATA = {"model": "autoencoder", "settings": {"rate": 0.1, "sizes": [3, 2]}, "score": None}


class Malicious:
    """Unpickling this runs a command: here one that leaves a file as evidence."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self):
        return os.mkdir, (str(self.evidence),)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 4))


def saved(path: Path) -> Path:
    save_checkpoint(path, network().state_dict(), METADATA)
    return path


def test_round_trip(tmp_path: Path) -> None:
    tensors = {
        "weight": torch.randn(4, 3).T,  # not contiguous
        "half": torch.randn(5).half(),
        "steps": torch.tensor(7),
        "empty": torch.zeros(0, 2),
    }
    path = tmp_path / "new" / "net.safetensors"
    digest = save_checkpoint(path, tensors, METADATA)
    checkpoint = load_checkpoint(path, model="autoencoder")
    assert checkpoint.metadata == METADATA
    assert checkpoint.sha256 == digest == sha256_of(path)
    assert checkpoint.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert checkpoint.tensors[name].dtype == tensor.dtype
        assert torch.equal(checkpoint.tensors[name], tensor)


def test_packed_signs_are_the_signs(tmp_path: Path) -> None:
    weight = torch.tensor([[0.3, -0.2, 0.0], [-1e-30, 5.0, -7.0], [1.0, 1.0, -1.0]])
    tensors = {"weight": weight, "bias": torch.randn(3), "more": torch.randn(2, 3, 5, 5)}
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, tensors, METADATA, signs={"weight", "more"})
    found = load_checkpoint(path)
    for name in ("weight", "more"):
        assert torch.equal(found.tensors[name], torch.where(tensors[name] >= 0, 1.0, -1.0))
    assert torch.equal(found.tensors["bias"], tensors["bias"])
    assert found.metadata == METADATA
    save_checkpoint(tmp_path / "again.safetensors", found.tensors, METADATA, {"weight", "more"})
    assert sha256_of(tmp_path / "again.safetensors") == found.sha256


def test_deflated_halves_are_the_numbers_in_float16(tmp_path: Path) -> None:
    tensors = {"weight": 0.1 * torch.randn(70, 50), "scalar": torch.tensor(3.0)}
    tensors |= {"none": torch.zeros(0, 4), "signs": torch.randn(9), "count": torch.tensor(7)}
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, tensors, METADATA, {"signs"}, {"weight", "scalar", "none"})
    found = load_checkpoint(path)
    for name in ("weight", "scalar", "none"):
        assert torch.equal(found.tensors[name], tensors[name].half())
        assert found.tensors[name].dtype == torch.float16
    assert torch.equal(found.tensors["signs"], torch.where(tensors["signs"] >= 0, 1.0, -1.0))
    assert found.tensors["count"] == 7 and found.metadata == METADATA
    with safe_open(path, framework="pt") as file:
        assert len(file.get_tensor("weight")) < 0.95 * 2 * 70 * 50


@pytest.mark.parametrize("shape", [[70, 49], [70, 51], [10**9, 10**10], [3500, -1]])
@pytest.mark.parametrize("key", ["packed_signs", "deflated_halves"])
def test_packed_tensors_of_another_shape_are_damage(tmp_path: Path, key: str, shape) -> None:
    names = {"packed_signs": (["weight"], []), "deflated_halves": ([], ["weight"])}[key]
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, {"weight": torch.randn(70, 50)}, METADATA, *names)
    with safe_open(path, framework="pt") as file:
        stored = {"weight": file.get_tensor("weight")}
    save_checkpoint(path, stored, {**METADATA, key: {"weight": shape}})
    with pytest.raises(UserError, match=r"is damaged .*'weight' has not the"):
        load_checkpoint(path)


def test_numbers_of_deflated_halves_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, {"weight": torch.tensor([1.0, 1e6])}, METADATA, halves=["weight"])
    with pytest.raises(UserError, match="not finite"):  # 1e6 is none of float16's numbers
        load_checkpoint(path)


def test_deflated_halves_do_not_unpack_to_any_size(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "net.safetensors"
    save_checkpoint(path, {"weight": torch.zeros(1000, 1000)}, METADATA, halves=["weight"])
    assert load_checkpoint(path).tensors["weight"].shape == (1000, 1000)
    monkeypatch.setattr(checkpoints, "MOST_NUMBERS", 999_999)
    with pytest.raises(UserError, match="is damaged"):
        load_checkpoint(path)


def test_equal_content_gives_equal_files(tmp_path: Path) -> None:
    tensors = network().state_dict()
    digests = {save_checkpoint(tmp_path / f"{i}", tensors, METADATA) for i in range(8)}
    assert len(digests) == 1


def test_tied_weights_can_be_saved(tmp_path: Path) -> None:
    weight = torch.randn(3, 3)
    save_checkpoint(tmp_path / "tied", {"encoder": weight, "decoder": weight}, METADATA)
    assert torch.equal(load_checkpoint(tmp_path / "tied").tensors["decoder"], weight)


def test_load_into_restores_the_function_also_from_half_precision(tmp_path: Path) -> None:
    source = network(1).eval()
    x = torch.randn(2, 4)
    save_checkpoint(tmp_path / "full", source.state_dict(), METADATA)
    halves = {k: v.half() if v.is_floating_point() else v for k, v in source.state_dict().items()}
    save_checkpoint(tmp_path / "half", halves, METADATA)
    target = network(2).eval()
    load_into(target, load_checkpoint(tmp_path / "full"))
    assert torch.equal(target(x), source(x))
    load_into(target, load_checkpoint(tmp_path / "half"))
    assert target[0].weight.dtype == torch.float32
    torch.testing.assert_close(target(x), source(x), atol=5e-3, rtol=0)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(5, 3)), r"'0.weight' of shape \(3, 4\).*has.*\(3, 5\)"),
        (nn.Sequential(nn.Linear(4, 3)), "it holds '1.bias' of shape.* has no '1.bias'"),
        (nn.Linear(4, 3), "it holds no 'weight', Linear has 'weight'"),
    ],
)
def test_a_network_that_does_not_fit(tmp_path: Path, module: nn.Module, message: str) -> None:
    checkpoint = load_checkpoint(saved(tmp_path / "net"))
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(UserError, match=message):
        load_into(module, checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="'autoencoder' where 'classifier' is needed"):
        load_checkpoint(saved(tmp_path / "net"), model="classifier")


def test_missing_checkpoint(tmp_path: Path) -> None:
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(UserError, match="there is no checkpoint"):
            load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_checkpoint(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path / "net")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match="damaged"):
        load_checkpoint(path)


def test_one_flipped_bit_in_the_numbers_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "net")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="checksum"):
        load_checkpoint(path)


def test_one_changed_bit_in_the_metadata_is_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path / "net")
    data = path.read_bytes()
    for place in (data.index(b"rate") + 1, data.index(b"0.1") + 2):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(UserError, match="checksum"):
            load_checkpoint(path)


def write_as_before(path: Path, tensors: dict, metadata: dict) -> None:
    """A file whose checksum is that of the tensors alone."""
    with_digest = {**metadata, "tensors_sha256": checkpoints._digest(tensors, None)}
    text = json.dumps(with_digest, sort_keys=True)
    path.write_bytes(safetensors.torch.save(tensors, metadata={"json": text}))


def test_files_whose_checksum_leaves_the_metadata_out(tmp_path: Path) -> None:
    tensors = dict(network().state_dict())
    write_as_before(tmp_path / "old", tensors, METADATA)
    old = load_checkpoint(tmp_path / "old")
    assert old.metadata == METADATA
    save_checkpoint(tmp_path / "new", old.tensors, old.metadata)
    assert load_checkpoint(tmp_path / "new").metadata == METADATA


def test_metadata_with_keys_of_other_kinds_are_as_json_has_them(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net", network().state_dict(), {"milestones": {60: 0.5}, "x": (1,)})
    assert load_checkpoint(tmp_path / "net").metadata == {"milestones": {"60": 0.5}, "x": [1]}


TRAINED = {
    "model": "gust",
    "settings": {},
    "seed": 0,
    "data": {},
    "curve": [{"epoch": 1}],
    "epochs": 1,
    "seconds": 1.5,
    "command": "python -m gust.train",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": None}, "seed is none, not an integer"),
        ({"seed": True}, "seed is true or false, not an integer"),
        ({"data": "text"}, "data is text, not a mapping"),
        ({"data": []}, "data is a list, not a mapping"),
        ({"settings": None}, "settings is none, not a mapping"),
        ({"curve": None}, "curve is none, not a list"),
        ({"curve": [{}]}, r"curve\[0\] lacks 'epoch'"),
        ({"curve": ["x"]}, r"curve\[0\] is text, not a mapping"),
        ({"seconds": float("nan")}, "seconds is nan, not a number"),
        ({"epochs": 1.5}, "epochs is a number, not an integer"),
        ({"more": eval("[" * 60 + "]" * 60)}, "nested"),
        *[({key: ...}, f"lacks '{key}'") for key in TRAINED if key != "model"],
    ],
)
def test_metadata_of_trained_networks(tmp_path: Path, change: dict, message: str) -> None:
    metadata = {key: x for key, x in (TRAINED | change).items() if x is not ...}
    path = tmp_path / "net"
    save_checkpoint(path, network().state_dict(), TRAINED)
    assert load_checkpoint(path, model="gust").metadata == TRAINED
    save_checkpoint(path, network().state_dict(), metadata)
    with pytest.raises(UserError, match=message) as error:
        load_checkpoint(path, model="gust")
    assert str(path) in str(error.value)


def test_deep_json_is_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000
    path = tmp_path / "net"
    path.write_bytes(safetensors.torch.save({"x": torch.zeros(1)}, metadata={"json": deep}))
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(path)
    header = (b'{"__metadata__": ' + deep.encode()).ljust(100_040)
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(UserError, match="not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.int32, torch.bool])
def test_numbers_of_another_kind_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = dict(network().state_dict())
    tensors["0.weight"] = tensors["0.weight"].to(dtype)
    save_checkpoint(tmp_path / "net", tensors, METADATA)
    with pytest.raises(UserError, match=f"'0.weight' holds numbers of the kind {str(dtype)[6:]}"):
        load_into(network(), load_checkpoint(tmp_path / "net"))


def test_huge_numbers_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net", {"w": torch.tensor([1.0, -2e6])}, METADATA)
    with pytest.raises(UserError, match=r"numbers above 1000000 \(w\)"):
        load_checkpoint(tmp_path / "net")


def test_pickles_and_foreign_files_are_refused_without_running_them(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    (tmp_path / "pickle").write_bytes(pickle.dumps(Malicious(evidence)))
    torch.save({"x": Malicious(evidence)}, tmp_path / "torch")
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "foreign")
    for name in ("pickle", "torch", "foreign"):
        with pytest.raises(UserError, match="not a checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not evidence.exists()


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "net", {"w": torch.tensor([1.0, float("nan")])}, METADATA)
    with pytest.raises(UserError, match="not finite"):
        load_checkpoint(tmp_path / "net")


def test_interrupted_saves_leave_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path, state_path = saved(tmp_path / "net"), tmp_path / "state"
    save_training_state(state_path, {"epoch": 1})
    before = path.read_bytes(), state_path.read_bytes()

    write = Path.write_bytes

    def dies_half_way(path, data):
        write(path, data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", dies_half_way)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, network(5).state_dict(), METADATA)
    with pytest.raises(KeyboardInterrupt):
        save_training_state(state_path, {"epoch": 2})
    assert (path.read_bytes(), state_path.read_bytes()) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net", "state"]


class Run:
    """A training with every kind of state: moments, momentum buffers, schedule, noise."""

    def __init__(self) -> None:
        self.net = network(3)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 3, 0.5)
        self.noise = torch.Generator().manual_seed(4)
        self.parts = (self.net, self.optimizer, self.scheduler)

    def epochs(self, n: int) -> None:
        for _ in range(n):
            x = torch.randn(8, 4, generator=self.noise)
            self.optimizer.zero_grad()
            (self.net(x) - x).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()

    def state(self) -> dict:
        return {
            "run": {"seed": 3, "data": {}},
            "epoch": 4,
            "seconds": 1.5,
            "parts": [part.state_dict() for part in self.parts],
            "noise": self.noise.get_state(),
            "settings": {"milestones": {60: 0.5}, "sizes": [3, 2], "patience": None},
            "best": {"epoch": 3, "tensors": {}, "score": float("inf")},
        }

    def restore(self, state: dict) -> None:
        for part, values in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(values)
        self.noise.set_state(state["noise"])


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, first, second = Run(), Run(), Run()
    whole.epochs(9)
    first.epochs(4)
    save_training_state(tmp_path / "state", first.state())
    state = load_training_state(tmp_path / "state")
    assert state["settings"] == first.state()["settings"]
    assert state["best"]["score"] == float("inf")
    second.restore(state)
    second.epochs(5)
    for name, tensor in whole.net.state_dict().items():
        assert torch.equal(tensor, second.net.state_dict()[name]), name


def test_training_state_refuses_pickles_that_run_code(tmp_path: Path) -> None:
    evidence = tmp_path / "evidence"
    torch.save({"x": Malicious(evidence)}, tmp_path / "state")
    torch.save({"x": Malicious(evidence)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    (tmp_path / "raw").write_bytes(pickle.dumps(Malicious(evidence)))
    for name in ("state", "old", "raw"):
        with pytest.raises(UserError, match="not a training state"):
            load_training_state(tmp_path / name)
    assert not evidence.exists()


def test_damaged_and_missing_training_states(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(UserError, match="there is no training state"):
        load_training_state(path)
    save_training_state(path, Run().state())
    data = path.read_bytes()
    flipped = bytearray(data)
    flipped[data.index(Run().net[0].weight.detach().numpy().tobytes())] ^= 1
    for damaged in (b"", data[:10], data[: len(data) // 2], data[:-1], bytes(flipped)):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged"):
            load_training_state(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"run": ...}, "lacks 'run'"),
        ({"run": None}, "run is none"),
        ({"run": [1]}, "run is a list"),
        ({"run": {}}, "run lacks 'seed'"),
        ({"epoch": "1"}, "epoch is text"),
        ({"best": None}, "best is none"),
        ({"curve": [{}]}, "lacks 'epoch'"),
    ],
)
def test_states_that_lack_a_part(tmp_path: Path, change: dict, message: str) -> None:
    state = {key: x for key, x in (Run().state() | change).items() if x is not ...}
    save_training_state(tmp_path / "state", state)
    with pytest.raises(UserError, match=message):
        load_training_state(tmp_path / "state")


@pytest.mark.parametrize("part", [None, {}, [], {"x": 1}, {"0.weight": torch.zeros(9)}])
def test_a_state_that_does_not_fit_its_network(tmp_path: Path, part) -> None:
    for name, whole in (("net", network()), ("optimizer", Run().optimizer)):
        if part == {"x": 1} or part is None or name == "net":
            with pytest.raises(UserError, match=f"its part '{name}' does not fit"):
                restore(tmp_path, {name: part}, **{name: whole})


def test_what_could_not_be_read_again_is_refused_when_saving(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\['scores'\]\[1\] is a float64"):
        save_training_state(tmp_path / "state", {"scores": [1.0, np.float64(2.0)]})
    assert not (tmp_path / "state").exists()
