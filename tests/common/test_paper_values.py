"""Published numbers: all of the file is well-formed, and what is not is named in one sentence."""

import pytest
import yaml

from common.errors import UserError
from common.paper_values import (
    FILE,
    load_papers,
    papers,
    published,
    published_curve,
    published_fields,
    result_of,
)
from datasets.babi_files import TASKS

GOOD = """
one:
  name: One
  reference: Somebody, something, 2020
  results:
    one_table1:
      title: Table 1
      command: scripts/one.sh
      picture: bars
      source: Table 1
      unpublished: not read
      better: lower
      curves: {loss: {x: [1, 2], y: [3, 0.5], spread: 0.1, source: figure}}
      rows:
        "{a}, {b}": {each: {a: [a, b], b: [1, 2]}, make: "train {b}"}
        "b, 2": 7
        loss: {curve: loss, better: same}
        accuracy:
          other: {value: 3, source: others}
      headline: {"b, 2": the number}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "values.yaml"
    path.write_text(GOOD)
    return path


def test_rows_patterns_and_curves(file):
    result = load_papers(file)["one"].results["one_table1"]
    assert list(result.rows) == ["a, 1", "a, 2", "b, 1", "b, 2", "loss", "accuracy"]
    named, of_pattern = result.rows["b, 2"], result.rows["a, 2"]
    assert (named.value, named.source, named.better) == (7, "Table 1", "lower")
    assert (of_pattern.value, of_pattern.source, of_pattern.make) == (None, "", "train 2")
    assert of_pattern.unpublished == "not read"
    loss = result.rows["loss"]
    assert (loss.value, loss.spread, loss.source, loss.better) == (0.5, 0.1, "figure", "same")
    assert (result.rows["accuracy"].other, result.rows["accuracy"].other_source) == (3, "others")
    other = result.row("what nobody lists")
    assert (other.value, other.unpublished, other.optional) == (None, "not read", True)
    assert result.headline == {"b, 2": "the number"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"b, 2": 7', '"b, 2": seven', "could not convert"),
        ('"b, 2": 7', '"b, 2": {vlaue: 7}', "vlaue"),
        ("      source: Table 1\n", "", "a number needs a source"),
        ("      unpublished: not read\n", "", "says why"),
        ("better: lower", "better: more", "better is 'more'"),
        ("y: [3, 0.5]", "y: [3]", "2 x and 1 y"),
        ('headline: {"b, 2"', 'headline: {"b, 3"', "no rows"),
    ],
)
def test_what_is_wrong_does_not_pass(file, old, new, words):
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    load_papers.cache_clear()
    with pytest.raises((TypeError, ValueError), match=words):
        load_papers(file)


def test_a_missing_file_row_or_curve(tmp_path):
    with pytest.raises(UserError, match="no file of published numbers"):
        load_papers(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="no result 'dasbe_table9'"):
        result_of("dasbe_table9")
    with pytest.raises(UserError, match="has no row 'bars, nonsense'; add it"):
        published("dasbe_table1", "bars, nonsense")
    with pytest.raises(UserError, match="has no curve 'loss'"):
        published_curve("gust_scores", "loss")


def test_numbers_of_the_papers():
    assert published_fields("dasbe_table1", "bars, DASBE") == {
        "paper": 96.5,
        "paper_source": "Table 1",
    }
    assert published("dasbe_table1", "mnist_shape, pure SNN").value == 12.9
    assert published("gust_scores", "published image, AMI at iteration 30").spread == 0.065
    assert published("hebbian_babi", "mean accuracy, delay 30").value == 89.1


def test_each_number_stands_once():
    """No other settings file or module may hold a published number by name."""
    root = FILE.parent.parent
    assert [paper for paper in papers()] == ["dasbe", "gust", "hebbian_snn", "snn_tha"]
    for package in papers():
        for path in (root / package).rglob("*"):
            if path.suffix in (".py", ".yaml"):
                text = path.read_text(encoding="utf-8")
                assert "paper_source:" not in text and "PAPER_ACCURACY" not in text, path
            if path.suffix == ".yaml":
                keys = yaml.safe_load(text)
                assert not any(str(key).startswith("paper_") for key in keys if key not in KEPT), (
                    path
                )


KEPT = ("paper_objects", "paper_image")
"""What the published image holds and its number, no results."""


def test_every_task_is_listed():
    listed = {name for paper in papers().values() for name in paper.results}
    assert len(listed) == sum(len(paper.results) for paper in papers().values())
    rows = papers()["hebbian_snn"].results["hebbian_babi"].rows
    for number, name in TASKS.items():
        for delay in (1, 30):
            assert f"task {number} ({name.replace('-', ' ')}), delay {delay}: error" in rows
    headlines = [r.headline for paper in papers().values() for r in paper.results.values()]
    assert 4 <= sum(map(len, headlines)) <= 12
