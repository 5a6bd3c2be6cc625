"""Where trainings write, what is found again, and what is refused."""

import json
import subprocess
import sys

import pytest
import torch

from common import runs, ship
from common.checkpoints import load_checkpoint, save_checkpoint
from common.files import atomic_path, lock_now
from common.paths import CHECKPOINTS, ROOT
from dasbe import train

TINY = [
    "--dataset", "bars", "--images", "40", "--steps_per_epoch", "2", "--batch_size", "10",
    "--epochs", "2", "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The folder of the runs of dasbe, which is empty."""
    monkeypatch.setattr(runs, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(ship, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(ship, "CHECKPOINTS", tmp_path / "checkpoints")
    monkeypatch.setattr(runs, "_runs_first", False)
    return tmp_path / "runs" / "dasbe"


def error_of(capsys, status):
    assert status == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_a_run_has_a_folder_of_its_own_and_is_reported_when_repeated(own, capsys):
    shipped = (CHECKPOINTS / "dasbe" / "bars.safetensors").read_bytes()
    assert train.main(TINY) == 0
    names = {path.name for path in (own / "bars").iterdir()}
    assert names == {"network.safetensors", "log.jsonl", "settings.json"}
    settings = json.loads((own / "bars" / "settings.json").read_text())
    assert settings["training"]["epochs"] == 2 and settings["seed"] == 0
    trained = load_checkpoint(own / "bars" / "network.safetensors", model="dasbe")
    assert trained.name == "bars" and trained.metadata["epochs"] == 2
    assert (CHECKPOINTS / "dasbe" / "bars.safetensors").read_bytes() == shipped
    capsys.readouterr()
    assert train.main(TINY) == 0
    said = capsys.readouterr().out
    assert "is there already (epoch" in said and "validation loss noisy" in said
    assert load_checkpoint(trained.path).sha256 == trained.sha256
    written = trained.path.stat().st_mtime_ns
    assert train.main([*TINY, "--overwrite"]) == 0
    assert trained.path.stat().st_mtime_ns > written


def test_other_settings_and_seeds_have_runs_of_their_own(own, capsys):
    other = [*TINY, "--epochs", "1"]
    for flags in (TINY, other, TINY, other, [*TINY, "--seed", "3"], [*other, "--name", "mine"]):
        assert train.main(flags) == 0
    assert sorted(path.name for path in own.iterdir()) == ["bars", "bars-2", "bars_seed3", "mine"]
    assert "training.epochs: 2 there, 1 here" in capsys.readouterr().out
    assert load_checkpoint(own / "bars-2" / "network.safetensors").metadata["epochs"] == 1
    assert "--name" in error_of(capsys, train.main([*TINY, "--name", "mine"]))
    assert train.main([*TINY, "--name", "mine", "--overwrite"]) == 0
    assert load_checkpoint(own / "mine" / "network.safetensors").metadata["epochs"] == 2
    assert "without folders" in error_of(capsys, train.main([*TINY, "--name", "a/b"]))


def test_a_start_that_failed_leaves_the_name_free(own, capsys):
    assert train.main([*TINY, "--images", "9999999"]) == 1
    assert train.main(TINY) == 0
    assert [path.name for path in own.iterdir()] == ["bars"]


def test_the_second_of_two_equal_commands_is_refused_and_a_killed_one_locks_nothing(own, capsys):
    hold = (
        "import sys, time; from pathlib import Path; from common.files import lock_now\n"
        "with lock_now(Path(sys.argv[1])) as mine:\n    print(mine, flush=True)\n    time.sleep(60)"
    )
    assert train.main([*TINY, "--epochs", "1"]) == 0
    words = [sys.executable, "-c", hold, str(own / "bars" / "lock")]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert "another process" in error_of(capsys, train.main([*TINY, "--epochs", "1"]))
        assert train.main(TINY) == 0  # other settings: a folder of their own
        assert [path.name for path in own.iterdir() if path.name != "bars"] == ["bars-2"]
        holder.kill()
    assert (own / "bars" / "lock").exists()
    assert train.main([*TINY, "--epochs", "1"]) == 0
    assert not (own / "bars" / "lock").exists()


def test_two_runs_with_one_file_name_in_two_folders_do_not_meet(own, tmp_path):
    for seed, other in (("1", "b"), ("2", "a")):
        out = tmp_path / other / "net.safetensors"
        with lock_now(tmp_path / ("a" if other == "b" else "b") / "net" / "dasbe_net.lock"):
            assert train.main([*TINY, "--seed", seed, "--out", str(out)]) == 0
        assert [line["epoch"] for line in load_checkpoint(out).metadata["curve"]] == [1, 2]


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    with lock_now(tmp_path / "lock") as first, lock_now(tmp_path / "lock") as second:
        assert (first, second) == (True, False)
    with lock_now(tmp_path / "lock") as third:
        assert third


def test_what_a_killed_process_left_half_written_goes(own):
    (own / "bars").mkdir(parents=True)
    for name in ("state.pt", "network.safetensors"):
        with pytest.raises(ZeroDivisionError), atomic_path(own / "bars" / name) as temporary:
            temporary.with_name(temporary.name.replace(".tmp", "x.tmp")).write_text("half")
            raise ZeroDivisionError
    assert len(list((own / "bars").iterdir())) == 2
    assert train.main(TINY) == 0
    assert not list((own / "bars").glob(".*.tmp"))


@pytest.mark.parametrize("out", ["file/net.safetensors", "folder"])
def test_a_place_that_cannot_be_written_is_noticed_at_the_start(out, own, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    assert out.split("/")[0] in error_of(capsys, train.main([*TINY, "--out", str(tmp_path / out)]))


# ---- finding networks -----------------------------------------------------------------------


def test_names_mean_shipped_networks_unless_runs_are_asked_for(own):
    save_checkpoint(own / "bars" / "network.safetensors", {}, {"model": "dasbe"})
    shipped = CHECKPOINTS / "dasbe" / "bars.safetensors"
    assert runs.find_network("dasbe", "bars") == shipped
    assert runs.find_network("dasbe", own / "bars") == own / "bars" / "network.safetensors"
    runs.look_in_runs(True)
    assert runs.find_network("dasbe", "bars").parent == own / "bars"
    assert runs.find_network("dasbe", "shapes").parent == shipped.parent
    runs.look_in_runs(False)
    save_checkpoint(own / "mine" / "network.safetensors", {}, {"model": "dasbe"})
    with pytest.raises(runs.UserError, match="--networks runs"):
        runs.find_network("dasbe", "mine")


def test_ship_keeps_the_signs_of_binary_weights(tmp_path):
    path = CHECKPOINTS / "snn_tha" / "dvs.safetensors"
    ship.write_compact(load_checkpoint(path), tmp_path / "dvs.safetensors")
    assert (tmp_path / "dvs.safetensors").stat().st_size < 20_000
    there, again = load_checkpoint(path), load_checkpoint(tmp_path / "dvs.safetensors")
    for name, tensor in there.tensors.items():
        same = torch.where(tensor >= 0, 1.0, -1.0) if name.endswith("weight") else tensor
        assert torch.equal(again.tensors[name], same)


def test_ship_copies_a_run_and_shows_both_scores(own, tmp_path, capsys):
    assert train.main(TINY) == 0
    assert ship.main(["dasbe/bars"]) == 0
    assert "old" not in capsys.readouterr().out
    assert train.main([*TINY, "--epochs", "1"]) == 0
    assert ship.main([str(own / "bars-2"), "--name", "bars"]) == 0
    said = capsys.readouterr().out
    assert "old: epoch" in said and "of 2" in said and "new: epoch 1 of 1" in said
    there = tmp_path / "checkpoints" / "dasbe" / "bars.safetensors"
    shipped, trained = map(load_checkpoint, (there, own / "bars-2" / "network.safetensors"))
    assert shipped.metadata == trained.metadata
    for name, tensor in trained.tensors.items():
        same = tensor.half() if tensor.dim() > 1 else tensor
        assert torch.equal(shipped.tensors[name], same)
    assert "--snapshot" in error_of(capsys, ship.main(["dasbe/nothing"]))


def test_the_seeds_of_a_network_are_found_and_summed_up(own, tmp_path, monkeypatch):
    from hebbian_snn.figures import comparison

    folder = tmp_path / "shipped"
    monkeypatch.setattr(comparison, "CHECKPOINTS", folder)
    for seed, accuracy in ((0, 0.9), (1, 0.8), (12, 0.7)):
        name = f"net_seed{seed}" if seed else "net"
        about = {"seed": seed, "seconds": 2.0, "test": {"cross_entropy": 1.0, "accuracy": accuracy}}
        about |= {"model": "hebbian_snn", "settings": {}, "data": {}, "curve": [], "epochs": 1}
        about["command"] = "python -m nothing"
        save_checkpoint(folder / "hebbian_snn" / f"{name}.safetensors", {}, about)
    save_checkpoint(folder / "hebbian_snn" / "net_seedling.safetensors", {}, about)
    found = [path.stem for path in runs.seeds_of("hebbian_snn", "net", folder)]
    assert found == ["net", "net_seed1", "net_seed12"]
    (mean,) = comparison.over_seeds(["net", "another"])
    assert mean.what == "net, over seeds: accuracy" and mean.seeds == [0, 1, 12]
    assert (mean.value, mean.spread, mean.n) == (pytest.approx(80), pytest.approx(10), 3)
