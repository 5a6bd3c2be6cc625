"""Learning curves and flips of trained policies."""

import pytest
from matplotlib.figure import Figure
from test_reinforcement import run

from common.errors import NotThereError
from common.results import load_results
from hebbian_snn.environments.concentration_batch import first_observation
from hebbian_snn.figures import comparison, concentration, concentration_game
from hebbian_snn.training.trained import load_network


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    """Checkpoints of a spiking policy and of the twin."""
    folders = [tmp_path_factory.mktemp(name) for name in ("spiking", "twin")]
    assert run(folders[0]) == 0 == run(folders[1], "--relu")
    paths = []
    for folder, name in zip(folders, ("concentration_2", "concentration_relu_2"), strict=True):
        paths.append(folder / f"{name}.safetensors")
        (folder / "net.safetensors").rename(paths[-1])
    return paths


def test_policies_and_those_they_are_compared_with(policies, tmp_path, capsys):
    flags = ["--out", str(tmp_path), "--device", "cpu", "--networks", *map(str, policies)]
    assert concentration.main(flags) == 0
    record, arrays = load_results(tmp_path)
    assert (tmp_path / "figure.pdf").exists()
    for name in ("concentration_2", "concentration_relu_2"):
        assert arrays[f"{name}-steps"].tolist() == [60, 120, 180]
        assert arrays[f"{name}-curve"].shape == (3,)
        flips = dict(zip(concentration.PLAYERS, arrays[f"{name}-flips"], strict=True))
        assert flips["perfect memory"] == 2
        assert 3 < flips["random"] < 5
        assert flips["random closed cards"] == 2, "one pair: every two cards match"
        assert 2 <= flips["policy"] <= 9
    said = capsys.readouterr().out
    assert "concentration relu 2, policy without plasticity" in said
    assert "not published" in said or all(m.paper is None for m in record.measurements)
    notes = {m.what: m.note for m in record.measurements}
    assert "8 steps an observation" in notes["concentration 2, policy: flips of a game"]
    assert isinstance(concentration.draw(record, arrays), Figure)


def test_without_plasticity_the_weights_are_the_same_and_the_memory_stays_empty(policies):
    trained = load_network(concentration.ConcentrationTask, policies[0])
    players = concentration.players_of(trained, trained.network.deck.device)
    silent = players["policy without plasticity"]
    for name, weight in silent.policy.state_dict().items():
        assert (weight == trained.network.state_dict()[name]).all()
    games, _ = trained.task.test_games(weight.device)
    shown = first_observation(games)
    for player, empty in ((silent, True), (players["policy"], False)):
        player(shown, games)
        assert player.state.mem.any() != empty


def test_missing_policies_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "CHECKPOINTS", tmp_path)
    assert concentration.main(["--out", str(tmp_path / "out")]) == NotThereError.status
    says = "no network is trained yet; python -m hebbian_snn.reinforcement_learning_task"
    assert says in capsys.readouterr().err
    command = concentration.training_command("concentration_6_20_steps")
    assert "--num_cells 6 --num_steps 100 --num_time_steps 20" in command
    words = ["--networks", "concentration_4", "--out", str(tmp_path / "out")]
    assert concentration.main(words) == 1
    assert "there is no trained network 'concentration_4'" in capsys.readouterr().err


def test_the_game_of_a_policy_that_is_not_trained_yet(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hebbian_snn.training.trained.CHECKPOINTS", tmp_path)
    assert concentration_game.main(["--out", str(tmp_path / "out")]) == NotThereError.status
    assert "no trained network 'concentration_4' yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("concentration_4", "4 cards"),
        ("concentration_relu_6", "6 cards, ReLU twin"),
        ("concentration_4_resampled", "4 cards, resampled"),
        ("concentration_6_20_steps", "6 cards, 20 ms"),
        ("net", "net"),
    ],
)
def test_labels(name, label):
    assert concentration._label(name) == label


def test_one_game_as_picture_and_animation(policies, tmp_path, capsys):
    flags = ["--out", str(tmp_path), "--network", str(policies[0]), "--game", "1"]
    assert concentration_game.main(flags) == 0
    assert (tmp_path / "game.gif").read_bytes()[:6] == b"GIF89a"
    record, arrays = load_results(tmp_path)
    flips = record.measurements[0].value
    assert arrays["actions"].shape == (flips + 1,) and arrays["mem"].shape == (flips + 1, 6, 6)
    assert arrays["actions"][0] == -1 and not arrays["cells"][0].any()
    assert arrays["chances"].sum(1) == pytest.approx(1)
    # Every action is the most likely one, and the game is the one that the test plays.
    assert (arrays["chances"][:-1].argmax(1) == arrays["actions"][1:]).all()
    trained = load_network(concentration.ConcentrationTask, policies[0])
    games, rules = trained.task.test_games(trained.network.deck.device)
    player = concentration.GreedyPlayer(trained.network)
    assert concentration.flips_of_games(player, games, rules)[0][1] == flips
    assert arrays["layout"].tolist() == games.layout[1].tolist()
    assert concentration_game.main([*flags[:-1], "99"]) == 1
    assert "there is no test game 99" in capsys.readouterr().err
