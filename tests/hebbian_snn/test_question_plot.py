"""The picture of a network that reads a story."""

import pytest
from hebbian_runs import words
from matplotlib.figure import Figure

from common.results import load_results
from hebbian_snn import plot_question_answering_task, question_answering_task
from hebbian_snn.figures import story
from hebbian_snn.tasks.question_answering import QuestionAnsweringTask
from hebbian_snn.training.trained import load_network

TRAIN = words(
    """--data embedded --ten_k 0 --task 15 --sentence_duration 12 --embedding_size 12
    --memory_size 9 --readout_delay 3 --batch_size 300 --epochs 1 --device cpu"""
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("story")
    path = folder / "net.safetensors"
    flags = [*TRAIN, "--out", str(path), "--partial", str(folder / "partial")]
    assert question_answering_task.main(flags) == 0
    return path


def test_picture_of_a_story(trained, tmp_path, capsys):
    flags = ["--checkpoint_path", str(trained), "--sample", "3", "--out", str(tmp_path)]
    assert plot_question_answering_task.main(flags) == 0
    record, arrays = load_results(tmp_path)
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert len(arrays["sentences"]) == 8 and arrays["spikes-story"].shape == (96, 12)
    assert str(arrays["question"]).startswith("what is ")
    assert str(arrays["question"]).endswith(" afraid of?")
    assert str(arrays["answer"]) in ("cat", "mouse", "sheep", "wolf")
    assert arrays["outputs"].shape == arrays["words"].shape and arrays["mem"].shape == (9, 9)
    assert "mean rate of write keys" in capsys.readouterr().out
    assert record.data == "embedded stories"

    network = load_network(QuestionAnsweringTask, trained)
    inputs, _ = network.task.batch("test", 0, range(3, 4), slice(None))
    assert network.network(*inputs).outputs[0].tolist() == arrays["outputs"].tolist()
    again, others = story.compute(network, 4)
    assert not (others["sentences"] == arrays["sentences"]).all()
    assert isinstance(story.draw(again, others), Figure)


def test_flags_that_do_not_fit_are_one_sentence(trained, tmp_path, capsys):
    flags = ["--checkpoint_path", str(trained), "--out", str(tmp_path)]
    assert plot_question_answering_task.main([*flags, "--memory_size", "8"]) == 1
    assert "--memory_size: 9 there, 8 here" in capsys.readouterr().err
    assert plot_question_answering_task.main([*flags, "--sample", "1000"]) == 1
    assert "there is no test sample 1000; there are 0 to 999" in capsys.readouterr().err
