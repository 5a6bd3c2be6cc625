"""Many bAbI trainings at once, and the table of what came out."""

import sys

import pytest
import torch
from matplotlib.figure import Figure

from common.checkpoints import load_checkpoint, save_checkpoint
from common.records import load_record
from common.results import load_results
from datasets import babi_files
from datasets.real import AbsentError
from hebbian_snn.figures import babi
from hebbian_snn.tasks import babi_sweep as sweep

FLAGS = (
    "--ten_k 0 --sentence_duration 4 --embedding_size 5 --memory_size 4 --batch_size 300 --epochs 1"
)


def table(folder, *more):
    """Make the table in ``folder`` of tasks 4 and 15; the exit status."""
    return babi.main(
        [
            *("--data", "embedded", "--device", "cpu", "--tasks", "4", "15", "--delays", "3"),
            *("--checkpoints", str(folder / "nets"), "--out", str(folder / "table")),
            *("--flags", f"{FLAGS} --partial {folder / 'partial'}", *more),
        ]
    )


def _absent(file):
    raise AbsentError("not there")


# ---- jobs -----------------------------------------------------------------------------------


def test_jobs_are_named_as_their_trainings_name_them(tmp_path):
    jobs = sweep.sweep_jobs([4, 1], [30, 1], "auto", (), tmp_path)
    assert [job.name for job in jobs] == [
        *("babi_4_delay_30", "babi_1_delay_30", "babi_4_delay_1", "babi_1_delay_1")
    ]
    assert " ".join(jobs[1].words) == (
        f"--task 1 --readout_delay 30 --out {tmp_path / 'babi_1_delay_30.safetensors'}"
    )
    own = sweep.sweep_jobs([1], [1], "auto")[0]
    assert " ".join(own.words) == "--task 1 --readout_delay 1 --name babi_1_delay_1"
    twins = sweep.sweep_jobs([4, 7], [30, 1], "embedded", ("--relu", "--ten_k", "0"), tmp_path)
    assert [job.name for job in twins] == [*("babi_relu_4_1k_embedded", "babi_relu_7_1k_embedded")]


def test_only_what_is_missing_is_trained_and_failures_are_told(tmp_path, monkeypatch):
    jobs = sweep.sweep_jobs([1, 4, 5], [30], "real", (), tmp_path)
    jobs[1].checkpoint.write_bytes(b"there")
    script = "import sys; print('said'); sys.exit(int('--task 5' in ' '.join(sys.argv)))"
    command = f'{sys.executable} -c "{script}"'
    ended = {job.task: rest for job, *rest in sweep.run_sweep(jobs, 2, command)}
    assert {task: status for task, (_, status, _) in ended.items()} == {1: 0, 5: 1}
    assert "said\n" in ended[5][2].read_text()


# ---- the table ------------------------------------------------------------------------------


def test_nothing_to_show_and_wrong_flags_are_one_sentence(tmp_path, capsys):
    assert table(tmp_path) == 3
    assert "no network is trained yet" in capsys.readouterr().err
    assert table(tmp_path, "--tasks", "21") == 1
    assert "--tasks 21: there are tasks 1 to 20" in capsys.readouterr().err
    assert table(tmp_path, "--train", "--jobs", "0") == 1
    assert "--jobs is 0" in capsys.readouterr().err


@pytest.mark.slow
def test_table_of_trained_networks(tmp_path, capsys, monkeypatch):
    assert table(tmp_path, "--train", "--jobs", "2") == 0
    said = capsys.readouterr().out
    assert "2 of 2 networks are to be trained" in said and said.count(": trained, ") == 2
    record, arrays = load_results(tmp_path / "table")
    assert arrays["3-tasks"].tolist() == [4, 15]
    for task, error in zip((4, 15), arrays["3-error"], strict=True):
        path = tmp_path / "nets" / f"babi_{task}_1k_delay_3_embedded.safetensors"
        accuracy = load_checkpoint(path).metadata["test"]["accuracy"]
        assert error == pytest.approx(100 * (1 - accuracy))
    values = {m.what: m for m in record.measurements}
    mean = values["mean accuracy of 2 tasks, delay 3"]
    assert mean.value == pytest.approx(100 - arrays["3-error"].mean())
    assert "over 2 of 20 tasks" in mean.note and mean.paper is None
    assert values["failed of 2 tasks, delay 3"].value == (arrays["3-error"] > 5).sum()
    assert record.data == "embedded stories"
    assert isinstance(babi.draw(record, arrays), Figure)

    # Again, with every network tested anew and one that is not there.
    more = ("--profile", "full", "--train", "--tasks", "4", "15")
    assert table(tmp_path, *more) == 0
    assert "0 of 2 networks are to be trained" in capsys.readouterr().out
    again = load_results(tmp_path / "table")[1]
    assert again["3-error"].tolist() == arrays["3-error"].tolist()
    # A snapshot of an unfinished training has not been tested yet.
    snapshot = load_checkpoint(path)
    untested = {key: value for key, value in snapshot.metadata.items() if key != "test"}
    save_checkpoint(path, snapshot.tensors, untested)
    assert table(tmp_path) == 0
    assert load_results(tmp_path / "table")[1]["3-error"].tolist() == arrays["3-error"].tolist()
    # Without --data the official stories are meant, generated ones stand in, and none are needed.
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "load_babi", None)
        assert table(tmp_path, "--tasks", "4", "1", "--data", "auto") == 0
    assert load_results(tmp_path / "table")[1]["3-tasks"].tolist() == [4]
    assert table(tmp_path, "--tasks", "4", "1") == 0
    missing = load_record(tmp_path / "table").measurements[0]
    assert missing.value is None and "not trained yet: python -m" in missing.note

    # One that was trained on the official files, which are not there.
    monkeypatch.delenv("SNN_DATA", raising=False)
    monkeypatch.setattr(babi_files, "DATA_FILES", tmp_path)
    monkeypatch.setattr(babi_files, "locate", _absent)
    of_official = tmp_path / "nets" / "babi_15_1k_delay_3.safetensors"
    trained = tmp_path / "nets" / "babi_15_1k_delay_3_embedded.safetensors"
    metadata = load_checkpoint(trained).metadata
    metadata["settings"]["dataset"]["data"] = "auto"
    metadata["data"]["source"] = "bAbI v1.2 en"
    save_checkpoint(of_official, load_checkpoint(trained).tensors, metadata)
    more = ("--data", "auto", "--tasks", "15", "--profile", "full")
    assert table(tmp_path, *more) == 0
    record, arrays = load_results(tmp_path / "table")
    assert record.data == "generated stories, trained on bAbI v1.2 en"
    assert arrays["3-error"].tolist() == [again["3-error"][1]]
    metadata["data"]["words"] += 1
    metadata["data"]["test_questions"] = 1000
    tensors = load_checkpoint(of_official).tensors
    grown = {
        k: torch.cat([t, t[:1]]) if k in ("words.weight", "output.weight") else t
        for k, t in tensors.items()
    }
    save_checkpoint(of_official, grown, metadata)
    assert table(tmp_path, *more) == 3
    assert "was trained on other data (words: " in capsys.readouterr().err


def test_the_missing_official_file_is_named(tmp_path):
    jobs = sweep.sweep_jobs([3], [30], "real", (), tmp_path)
    assert "training file of task 3 is missing" in babi._missing(jobs[0], "real").note


def test_paper_value_stands_beside_the_mean_of_all_official_stories(tmp_path):
    settings = babi.BabiFigureSettings((1,), (30,), 5.0)
    tasks = [task for task in range(1, 21) if task != 3]  # whose training file may be missing
    jobs = sweep.sweep_jobs(tasks, [30], "real", (), tmp_path)
    errors = [
        babi.Measurement("a", value, data="bAbI v1.2 en-10k", interval95=0.5)
        for value in (1, 8, *[3] * 17)
    ]
    accuracy, error, failed = babi._summary(jobs, errors, settings.failed_above)
    mean = 60 / 19
    assert accuracy.what == "mean accuracy, delay 30" and accuracy.paper == 89.1
    assert accuracy.value == pytest.approx(100 - mean) and error.value == pytest.approx(mean)
    assert (failed.what, failed.value) == ("failed tasks, delay 30", 1)
    few = babi._summary(jobs[:2], errors[:2], settings.failed_above)
    assert [m.what.partition(",")[0] for m in few] == [
        "mean accuracy of 2 tasks",
        "mean error of 2 tasks",
        "failed of 2 tasks",
    ]
    assert few[0].paper is None and few[0].value == 95.5
