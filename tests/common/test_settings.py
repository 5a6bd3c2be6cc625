"""Settings: file -> dataclass -> dict -> file, flags over files, and clear errors."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from common.arguments import Parser
from common.errors import UserError
from common.settings import (
    add_arguments,
    differences,
    from_dict,
    load_settings,
    option,
    overrides_from_args,
    to_dict,
)


@dataclass(frozen=True)
class Network:
    sizes: tuple[int, ...] = option("units of each layer", minimum=1)
    kernel: tuple[int, int]
    spiking: bool


@dataclass(frozen=True)
class Training:
    learning_rate: float = option("step size, 50 % of the usual", minimum=0)
    batch_size: int
    milestones: dict[int, float]
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.patience is not None and self.patience > 100:
            raise ValueError("patience above 100 never stops")


@dataclass(frozen=True)
class Settings:
    dataset: str = option("what to learn", choices=("bars", "shapes"))
    network: Network
    training: Training


TEXT = """
dataset: bars
network: {sizes: [9, 3], kernel: [5, 5], spiking: true}
training: {learning_rate: 1e-3, batch_size: 32, milestones: {60: 0.5, 170: 0.1}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "bars.yaml"
    path.write_text(TEXT)
    return path


def parse(*words: str) -> dict:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Settings)
    return overrides_from_args(Settings, parser.parse_args(words))


def test_load_gives_typed_values(path: Path) -> None:
    settings = load_settings(Settings, path)
    assert settings.network == Network((9, 3), (5, 5), True)
    assert settings.training == Training(0.001, 32, {60: 0.5, 170: 0.1}, None)


@pytest.mark.parametrize(
    "through", [lambda d: yaml.safe_load(yaml.safe_dump(d)), lambda d: json.loads(json.dumps(d))]
)
def test_round_trip_through_yaml_and_json(path: Path, through) -> None:
    settings = load_settings(Settings, path)
    assert from_dict(Settings, through(to_dict(settings))) == settings


def test_flags_override_the_file_and_nothing_else(path: Path) -> None:
    words = "--learning-rate 0.5 --batch_size 7 --sizes 4 2 1 --no-spiking --milestones 9=0.2"
    settings = load_settings(Settings, path, parse(*words.split(), "--patience", "none"))
    assert settings.network == Network((4, 2, 1), (5, 5), False)
    assert settings.training == Training(0.5, 7, {9: 0.2}, None)
    assert settings.dataset == "bars"


def test_flags_that_are_not_given_leave_no_trace() -> None:
    assert parse() == {}
    assert parse("--patience", "none") == {"training": {"patience": None}}
    assert parse("--milestones") == {"training": {"milestones": {}}}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dataset: bars", "dataset: cars", "'dataset' must be one of bars, shapes, not 'cars'"),
        ("dataset: bars", "", "'dataset' is missing; it must be text"),
        ("dataset: bars", "datasett: bars", "unknown setting 'datasett'; did you mean 'dataset'"),
        ("batch_size: 32", "batch_size: 3.5", "'training.batch_size' must be an integer, not 3.5"),
        ("batch_size: 32", "batch_size: true", "must be an integer, not True"),
        ("batch_size: 32, ", "", "'training.batch_size' is missing"),
        ("1e-3", ".nan", "'training.learning_rate' must be a number, not nan"),
        ("1e-3", ".inf", "must be a number, not inf"),
        ("1e-3", "fast", "must be a number, not 'fast'"),
        ("1e-3", "-1", "'training.learning_rate' must be at least 0, not -1.0"),
        ("[9, 3]", "[9, 0]", "'network.sizes' must be at least 1, not 0"),
        ("[9, 3]", "9", "must be a list of integers"),
        ("[5, 5]", "[5]", "'network.kernel' must be a list of 2 integers"),
        ("true", "maybe", "'network.spiking' must be true or false, not 'maybe'"),
        ("60: 0.5", "sixty: 0.5", "'training.milestones' must be a mapping from integers"),
        ("batch_size: 32", "batch_size: 32, patience: 101", "patience above 100 never stops"),
        ("network: {sizes: [9, 3], kernel: [5, 5], spiking: true}", "network: 3", "'network' must"),
        ("[9, 3]", "[9, 3", "not valid YAML near line"),
        ("dataset: bars", "- bars", "not valid YAML"),
        ("dataset: bars", "\x00", "not valid YAML"),
    ],
)
def test_mistakes_in_the_file(path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError) as error:
        load_settings(Settings, path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no settings file"):
        load_settings(Settings, tmp_path / "nothing.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(UserError, match="must be a mapping"):
        load_settings(Settings, tmp_path / "empty.yaml")


def test_a_bad_flag_value_is_not_blamed_on_the_file_alone(path: Path) -> None:
    with pytest.raises(UserError, match=r"flags given.*'dataset' must be one of bars, shapes"):
        load_settings(Settings, path, parse("--dataset", "cars"))
    with pytest.raises(UserError, match="learning_rate' must be a number, not nan"):
        load_settings(Settings, path, parse("--learning_rate", "nan"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size", "x"], "must be an integer, not 'x'"),
        (["--milestones", "60"], "must be a mapping from integers to numbers, not '60'"),
    ],
)
def test_flags_that_cannot_be_read(words, message, capsys) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert message in capsys.readouterr().err


def test_help_shows_choices_and_defaults_and_one_spelling_of_each_flag(path: Path) -> None:
    parser = Parser(prog="x")
    add_arguments(parser, Settings, load_settings(Settings, path))
    text = " ".join(parser.format_help().split())
    assert "--dataset TEXT what to learn (bars, shapes; default: bars)" in text
    assert "step size, 50 % of the usual (default: 0.001)" in text
    assert "units of each layer (list of integers; default: 9 3)" in text
    assert "--milestones [KEY=FLOAT ...] (default: 60=0.5 170=0.1)" in text
    assert "--patience INT (or none; default: none)" in text
    assert "--spiking [0|1] (default: 1)" in text
    assert "--batch-size" not in text and "--no-" not in text
    given = parser.parse_args(["--batch-size", "3", "--no-spiking"])
    assert (given.batch_size, given.spiking) == (3, False)


def test_one_text_may_stand_for_all_defaults() -> None:
    parser = Parser(prog="x")
    add_arguments(parser, Settings, "that of the network")
    assert " ".join(parser.format_help().split()).count("default: that of the network") == 8


def test_differences_in_words(path: Path) -> None:
    here = load_settings(Settings, path)
    there = load_settings(Settings, path, parse("--learning_rate", "0.01", "--milestones", "60=1"))
    lines = differences(json.loads(json.dumps(to_dict(there))), here)
    assert lines == [
        "training.learning_rate: 0.01 there, 0.001 here",
        "training.milestones.60: 1.0 there, 0.5 here",
        "training.milestones.170: absent there, 0.1 here",
    ]
    assert differences(json.loads(json.dumps(to_dict(here))), here) == []


def test_sections_must_not_share_names() -> None:
    @dataclass
    class Twice:
        a: Training
        b: Training

    Twice.__annotations__ = {"a": Training, "b": Training}
    with pytest.raises(ValueError, match="batch_size"):
        add_arguments(argparse.ArgumentParser(), Twice)


def test_unsupported_types_are_refused() -> None:
    @dataclass
    class Odd:
        value: complex

    with pytest.raises(TypeError, match="complex"):
        add_arguments(argparse.ArgumentParser(), Odd)
