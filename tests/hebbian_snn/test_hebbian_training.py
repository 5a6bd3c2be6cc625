"""Training runs of a small associations network: repeated, resumed, stopped, refused."""

import re
from contextlib import redirect_stdout
from io import StringIO

import pytest
import torch
from hebbian_runs import (
    finished,
    flags,
    last_state,
    log,
    run,
    same_training,
    words,
)
from interruption import interrupt_after

from common.checkpoints import save_checkpoint
from hebbian_snn import (
    memorizing_associations_task,
    memorizing_associations_task_relu,
)
from hebbian_snn.tasks.associations import AssociationsTask
from hebbian_snn.training import loop as supervised
from hebbian_snn.training.command import task_parser
from hebbian_snn.training.loop import should_stop
from hebbian_snn.training.trained import load_network

ORIGINAL_FLAGS = words("""--sequence_length 10 --num_classes 10 --feature_size 10 --inf_data 1
    --num_time_steps 100 --workers 4 --prefetch_factor 2 --embedding_size 80 --memory_size 100
    --w_max 1.0 --gamma_pos 0.3 --gamma_neg 0.3 --tau_trace 20.0 --readout_delay 1 --thr 0.1
    --perfect_reset --refractory_time_steps 3 --tau_mem 20.0 --dampening_factor 1.0 --epochs 250
    --batch_size 512 --learning_rate 0.003 --learning_rate_decay 0.85
    --decay_learning_rate_every 20 --max_grad_norm 40.0 --l2 1e-5 --target_rate 0.0
    --start_epoch 0 --resume PATH --check_params 1 --evaluate --logging --print_freq 1
    --world_size -1 --rank -1 --dist_url tcp://127.0.0.1:23456 --dist_backend nccl --seed 3
    --dataset_seed 42 --gpu 0 --multiprocessing_distributed""")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run(folder) == 0
    return folder


def said(capsys, status):
    """The one sentence of a run that failed."""
    assert status == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_all_flags_of_the_original_scripts_are_taken():
    args = task_parser(AssociationsTask, None).parse_args(ORIGINAL_FLAGS)
    assert args.perfect_reset is args.evaluate is args.multiprocessing_distributed is True
    assert (args.inf_data, args.check_params, args.world_size) == (True, True, -1)


@pytest.mark.parametrize("word", ["0", "false", "False"])
def test_switches_can_be_turned_off(word):
    args = task_parser(AssociationsTask, None).parse_args(["--check_params", word])
    assert args.check_params is False


# ---- what is written ------------------------------------------------------------------------


def test_the_curve_tells_everything(whole):
    curve = finished(whole).metadata["curve"]
    assert [line["epoch"] for line in curve] == [1, 2, 3, 4]
    assert [line["learning_rate"] for line in curve] == [0.003, 0.003] + [0.003 * 0.85] * 2
    assert curve[0]["rate_term"] == 0
    layers = ["vectors", "labels", "write_keys", "write_values", "query", "read_keys"]
    for line in curve:
        assert set(line["rates"]) == set(line["validation_rates"]) == {*layers, "read_values"}
        assert line["loss"] == pytest.approx(line["cross_entropy"] + line["rate_term"])
        assert 0 <= line["accuracy"] <= 1
        assert 0 < line["gradient_norm"] <= line["largest_gradient_norm"]
        assert line["seconds"] > 0
    assert all(line["rate_term"] > 0 for line in curve[1:])


def test_the_kept_network_is_the_one_of_the_best_validation(whole):
    metadata = finished(whole).metadata
    best = max(metadata["curve"], key=lambda line: line["validation_accuracy"])
    assert metadata["epoch"] == best["epoch"]
    assert metadata["validation"]["accuracy"] == best["validation_accuracy"]
    assert (metadata["seed"], metadata["data"]) == (0, {"task": "associations"})
    assert metadata["settings"]["network"]["memory_size"] == 12
    assert "hebbian" in metadata["model"]
    trained = load_network(AssociationsTask, whole / "net.safetensors")
    assert trained.network.memory.write.weight.shape == (24, 40)


def test_the_last_network_is_kept_as_well(whole):
    path = whole / "partial" / "hebbian_snn_net_last.pt"
    network = load_network(AssociationsTask, path).network
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, last_state(whole)["network"][name])
    assert [path.name for path in (whole / "partial").iterdir()] == [path.name]


def test_evaluation_finds_what_training_found(whole, capsys):
    assert run(whole, "--evaluate") == 0
    text = capsys.readouterr().out
    accuracy = finished(whole).metadata["test"]["accuracy"]
    assert float(re.search(r"accuracy ([\d.e-]+)", text)[1]) == pytest.approx(accuracy, rel=1e-3)
    assert run(whole, "--evaluate", "--batch_size", "7", "--print_freq", "1") == 0
    assert capsys.readouterr().out == text


# ---- the same numbers -----------------------------------------------------------------------


def test_a_run_repeats_itself_and_seeds_differ(whole, tmp_path):
    assert run(tmp_path) == 0
    same_training(tmp_path, whole)
    assert run(tmp_path, "--seed", "1", "--overwrite") == 0
    assert not torch.equal(
        finished(tmp_path).tensors["output.weight"], finished(whole).tensors["output.weight"]
    )


@pytest.mark.parametrize("epochs", [1, 3, 4])
def test_ctrl_c_and_on(epochs, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, supervised, epochs)
        assert run(tmp_path) == 130
    assert not (tmp_path / "net.safetensors").exists()
    assert run(tmp_path) == 0
    same_training(tmp_path, whole)


def test_a_state_elsewhere_is_resumed_by_name(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(patch, supervised, 2)
        assert run(tmp_path / "there", "--epochs", "3") == 130
    state = tmp_path / "there" / "partial" / "hebbian_snn_net.pt"
    assert run(tmp_path / "here", "--resume", str(state)) == 0
    same_training(tmp_path / "here", whole)


def test_a_finished_training_can_be_prolonged(whole, tmp_path):
    assert run(tmp_path, "--epochs", "2") == 0
    state = tmp_path / "partial" / "hebbian_snn_net_last.pt"
    assert run(tmp_path / "on", "--resume", str(state)) == 0
    same_training(tmp_path / "on", whole)


def test_stored_data_are_shuffled_every_epoch(tmp_path):
    assert run(tmp_path, "--inf_data", "0", "--epochs", "2") == 0
    assert finished(tmp_path).metadata["settings"]["dataset"]["inf_data"] is False


def test_the_start_epoch_sets_the_rate_and_the_data(tmp_path):
    assert run(tmp_path, "--start_epoch", "2") == 0
    curve = finished(tmp_path).metadata["curve"]
    assert [line["epoch"] for line in curve] == [3, 4]
    assert curve[0]["learning_rate"] == 0.003 * 0.85
    assert curve[0]["rate_term"] > 0


# ---- stopping -------------------------------------------------------------------------------


def test_training_stops_once_the_validation_is_good_enough(tmp_path):
    assert run(tmp_path, "--stop_score", "0", "--stop_epochs", "2") == 0
    assert finished(tmp_path).metadata["epochs"] == 2


def test_the_last_epochs_must_all_be_good():
    task = AssociationsTask(settings_of("--stop_score", "0.9", "--stop_epochs", "3"), 0)
    curve = [{"validation_accuracy": x} for x in (0.95, 0.8, 0.9, 0.95, 0.91)]
    assert [should_stop(task, curve[:n]) for n in range(6)] == [False] * 5 + [True]
    task = AssociationsTask(settings_of(), 0)
    assert not should_stop(task, curve)


def settings_of(*words):
    from common.settings import overrides_from_args
    from hebbian_snn.config import task_settings
    from hebbian_snn.tasks.associations import AssociationsSettings

    args = task_parser(AssociationsTask, None).parse_args(words)
    return task_settings(
        AssociationsSettings, "associations", False, overrides_from_args(AssociationsSettings, args)
    )


# ---- the twin -------------------------------------------------------------------------------


def test_the_twin_under_both_names(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert run(one, "--relu") == 0
    assert memorizing_associations_task_relu.main(flags(two)) == 0
    same_training(one, two)
    settings = finished(one).metadata["settings"]
    assert settings["relu"] is True
    assert settings["network"]["gamma_pos"] == settings["network"]["gamma_neg"] == 0.1
    assert "rates" not in finished(one).metadata["curve"][0]


# ---- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--sequence_length", "0"], "sequence_length"),
        (["--sequence_length", "4"], "at least as many classes as pairs"),
        (["--num_classes", "1"], "num_classes"),
        (["--queries", "0"], "queries"),
        (["--queries", "3"], "a sample has 2 pairs"),
        (["--feature_size", "0"], "feature_size"),
        (["--num_time_steps", "0"], "num_time_steps"),
        (["--embedding_size", "0"], "embedding_size"),
        (["--memory_size", "-1"], "memory_size"),
        (["--w_max", "0"], "w_max"),
        (["--gamma_pos", "-0.1"], "gamma_pos"),
        (["--gamma_neg", "-0.1"], "gamma_neg"),
        (["--tau_trace", "0"], "tau_trace"),
        (["--tau_mem", "0"], "tau_mem"),
        (["--thr", "0"], "thr"),
        (["--readout_delay", "0"], "readout_delay"),
        (["--refractory_time_steps", "-1"], "refractory_time_steps"),
        (["--dampening_factor", "-1"], "dampening_factor"),
        (["--epochs", "0"], "epochs"),
        (["--batch_size", "0"], "batch_size"),
        (["--learning_rate", "-1"], "learning_rate"),
        (["--learning_rate", "1e36"], "learning"),
        (["--learning_rate_decay", "-1"], "learning_rate_decay"),
        (["--decay_learning_rate_every", "0"], "decay_learning_rate_every"),
        (["--l2", "-1"], "l2"),
        (["--target_rate", "-1"], "target_rate"),
        (["--stop_epochs", "0"], "stop_epochs"),
        (["--start_epoch", "-1"], "start_epoch"),
        (["--start_epoch", "4"], "start_epoch"),
        (["--print_freq", "-1"], "print_freq"),
        (["--seed", "-1"], "seed"),
        (["--dataset_seed", "-1"], "dataset_seed"),
        (["--gpu", "-1"], "--gpu is -1"),
        (["--gpu", "99"], "cuda:99 is not there"),
        (["--device", "tpu"], "tpu"),
        (["--backend", "nonsense"], "nonsense"),
        (["--backend", "cuda"], "cuda does not run on cpu"),
        (["--resume", "missing.pt"], "missing.pt"),
        (["--resume", "missing.safetensors"], "missing.safetensors"),
        (["--world_size", "0", "--rank", "0", "--dist_url", "env://"], "world_size"),
        (["--world_size", "2", "--rank", "2", "--dist_url", "env://"], "rank"),
        (["--world_size", "2"], "--dist_url"),
        (["--multiprocessing_distributed", "--world_size", "2", "--rank", "2"], "rank"),
        (["--multiprocessing_distributed", "--world_size", "2", "--rank", "0"], "--dist_url"),
        (["--multiprocessing_distributed", "--processes_per_node", "0"], "processes_per_node"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_that_cannot_work(more, says, tmp_path, capsys):
    assert says in said(capsys, run(tmp_path, *more))
    assert not (tmp_path / "net.safetensors").exists()


def test_other_flags_than_the_checkpoints_are_all_named(whole, tmp_path, capsys):
    state = str(whole / "partial" / "hebbian_snn_net_last.pt")
    other = ["--thr", "0.2", "--w_max", "0.5", "--learning_rate", "0.1"]
    text = said(capsys, run(tmp_path, "--resume", state, "--seed", "2", *other))
    assert "--thr: 0.02 there, 0.2 here" in text
    assert "--w_max: 1.0 there, 0.5 here" in text
    assert "--seed: 0 there, 2 here" in text
    assert "learning_rate" not in text
    text = said(capsys, run(whole, "--evaluate", *other))
    assert "--thr: 0.02 there, 0.2 here" in text
    assert "seed" not in text
    assert run(whole, "--evaluate", "--check_params", "0", *other) == 0


def test_what_may_differ_under_evaluation(whole, capsys):
    assert run(whole, "--evaluate", "--sequence_length", "3", "--batch_size", "5") == 0
    assert "--num_classes" in said(capsys, run(whole, "--evaluate", "--num_classes", "4"))


def test_a_checkpoint_is_not_resumed(whole, tmp_path, capsys):
    path = str(whole / "net.safetensors")
    assert "--evaluate" in said(capsys, run(tmp_path, "--resume", path))


def test_a_checkpoint_of_another_task(whole, tmp_path, capsys):
    path = tmp_path / "other.safetensors"
    metadata = {**finished(whole).metadata, "data": {"task": "omniglot"}}
    save_checkpoint(path, finished(whole).tensors, metadata)
    text = said(capsys, run(tmp_path, "--evaluate", "--resume", str(path)))
    assert "'omniglot'" in text
    assert "'associations'" in text
    text = said(capsys, run(tmp_path, "--out", str(path)))
    assert "'omniglot'" in text


@pytest.mark.parametrize("name", ["net.safetensors", "partial/hebbian_snn_net_last.pt"])
def test_a_damaged_file(name, whole, tmp_path, capsys):
    path = tmp_path / (whole / name).name
    content = bytearray((whole / name).read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert path.name in said(capsys, run(tmp_path, "--evaluate", "--resume", str(path)))


def test_an_unfinished_run_is_not_mixed_with_another(whole, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt_after(patch, supervised, 2)
        assert run(tmp_path) == 130
    assert [line["epoch"] for line in log(tmp_path)] == [1, 2]
    capsys.readouterr()
    for other, says in (
        (["--learning_rate", "0.1"], "training.learning_rate: 0.003 there, 0.1 here"),
        (["--seed", "4"], "seed: 0 there, 4 here"),
    ):
        text = said(capsys, run(tmp_path, *other))
        assert says in text
        assert "--overwrite" in text
    assert run(tmp_path) == 0
    same_training(tmp_path, whole)


def test_flags_without_effect_say_so(whole, capsys):
    more = ["--workers", "4", "--prefetch_factor", "2", "--learn_readout_delay"]
    assert run(whole, "--evaluate", *more) == 0
    text = capsys.readouterr().out
    for name in ("--workers", "--prefetch_factor", "--learn_readout_delay"):
        assert f"{name} has no effect" in text


def test_events_need_tensorboard(tmp_path, monkeypatch, capsys):
    import builtins

    real = builtins.__import__

    def without(name, *rest, **options):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "tensorboard" in said(capsys, run(tmp_path, "--logging"))


def test_help_names_every_setting():
    text = StringIO()
    with redirect_stdout(text), pytest.raises(SystemExit):
        memorizing_associations_task.main(["--help"])
    for name in ("--gamma_pos", "--stop_score", "--dist_url", "--resume"):
        assert name in text.getvalue()
