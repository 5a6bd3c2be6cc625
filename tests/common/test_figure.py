"""The runner of figures: options from file, profile and flags; records; what a command writes."""

from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pytest

from common.figure import Figure, FigureOptions
from common.results import load_results
from common.settings import option


@dataclass(frozen=True, kw_only=True)
class Options(FigureOptions):
    images: int = option("images", minimum=2)
    seed: int = option("random seed", default=3)
    names: tuple[str, ...] = option("what to draw", some=True)
    limit: float


def compute(options, record):
    record.seeds = [options.seed]
    record.measure("mean", np.arange(options.images), note="of images")
    record.measure("limit", options.limit, seeds=[])
    record.measure("other", None, note="not trained")
    return {"x": np.arange(options.images)}


def draw(record, arrays):
    figure = mpl.figure.Figure()
    figure.subplots().plot(arrays["x"])
    return figure


@pytest.fixture
def figure(tmp_path):
    file = tmp_path / "figure.yaml"
    file.write_text("names: [a, b]\nlimit: 0.5\nquick: {images: 4}\nfull: {images: 9}\n")
    makes = "command --profile {profile}"
    return Figure("a_figure", "A figure", "A paper", Options, compute, draw, [file], makes)


def test_flags_lie_over_the_profile_and_that_over_the_file(figure):
    assert figure.read([]).images == 4
    full = figure.read(["--profile", "full", "--names", "c"])
    assert (full.images, full.names, full.limit, full.seed) == (9, ("c",), 0.5, 3)
    assert figure.read(["--profile", "full", "--images", "5"]).images == 5


def test_help_shows_defaults_and_only_options(figure):
    text = " ".join(figure.parser().format_help().split())
    assert "images (default: 4; full: 9)" in text and "random seed (default: 3)" in text
    assert "what to draw (list of words; default: a b)" in text
    assert "quick: images 4; full: images 9" in text
    assert "--limit" not in text


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (["--images", "1"], 1, "--images must be at least 2, not 1"),
        (["--device", "tpu"], 1, "unknown device 'tpu'"),
        (["--names"], 2, "expected at least one argument"),
        (["--limit", "1"], 2, "there is no flag --limit"),
    ],
)
def test_mistakes_are_one_sentence(figure, flags, status, says, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    if status == 2:
        with pytest.raises(SystemExit):
            figure.main([*flags, *out])
    else:
        assert figure.main([*flags, *out]) == status
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_writes_record_arrays_and_picture(figure, tmp_path, capsys):
    out = tmp_path / "out"
    assert figure.main(["--images", "3", "--out", str(out)]) == 0
    assert "left out: other: not trained" in capsys.readouterr().out
    record, arrays = load_results(out)
    mean, limit, other = record.measurements
    assert (mean.value, mean.spread, mean.n, mean.note) == (1, 1, 3, "of images")
    assert (mean.seeds, mean.command) == ([3], "command --profile quick")
    assert (limit.value, limit.n, limit.seeds) == (0.5, 1, [])
    assert (other.value, other.n) == (None, 0)
    assert record.settings == {
        "figure": {"images": 3, "seed": 3, "names": ["a", "b"], "limit": 0.5}
    }
    np.testing.assert_array_equal(arrays["x"], [0, 1, 2])
    assert (out / "figure.png").stat().st_size > 1000


def test_the_papers_number_stands_beside_a_listed_row(figure):
    record = figure.record(figure.read([]))
    record.folder = "gust_scores"
    assert record.measure("published image, AMI at iteration 30", 0.5).paper == 0.795
    assert record.measure("another row", 0.5).paper is None
