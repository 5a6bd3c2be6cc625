import itertools
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from common.errors import UserError
from hebbian_snn.environments import concentration_batch as batch
from hebbian_snn.environments.concentration import ConcentrationEnv
from hebbian_snn.environments.concentration_batch import ConcentrationBatch, Rules
from hebbian_snn.environments.players import (
    PerfectMemory,
    RandomClosed,
    RandomPlayer,
    flips_of_games,
)

NAME = "hebbian_snn.environments.concentration:Concentration-v0"


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def games_of(rules, size, seed=0):
    random = seeded(seed)
    cards = torch.rand(size, rules.num_pairs, rules.card_size, generator=random)
    return batch.deal(batch.shuffled_layouts(size, rules.num_cells, random), cards)


# ---- one game -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"num_cells": 6, "resample_cards": True, "max_flips": 9, "card_size": 3}]
)
def test_gymnasium_accepts_the_environment(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(NAME, render_mode="ansi", **options).unwrapped)


def test_one_game_by_hand():
    deck = np.array([[0.25, 0.5], [0.75, 1.0]])
    env = gymnasium.make(NAME, card_size=2, deck=deck, render_mode="ansi")
    observation, info = env.reset(seed=1, options={"layout": [0, 1, 1, 0]})
    down, up, empty = [1, 0, 0], [0, 1, 0], [0, 0, 1]

    def seen(states, position, card):
        return [*np.ravel(states), *np.eye(4)[position], *card]

    assert observation.tolist() == seen([down] * 4, 0, [0, 0])
    assert env.render() == "[#] [#] [#] [#]  flips 0" and info["flips"] == 0
    plays = [
        # action, states after it, card seen, reward
        (1, [down, up, down, down], [0.75, 1], -0.5),
        (1, [down] * 4, [0, 0], -0.5),  # turned back
        (3, [down, down, down, up], [0.25, 0.5], -0.5),
        (2, [down] * 4, [0.75, 1], -0.5),  # different: both turned back
        (1, [down, up, down, down], [0.75, 1], -0.5),
        (2, [down, empty, empty, down], [0.75, 1], 24.5),
        (2, [down, empty, empty, down], [0, 0], -0.5),  # nothing there
        (0, [up, empty, empty, down], [0.25, 0.5], -0.5),
        (3, [empty] * 4, [0.25, 0.5], 24.5),
    ]
    for flips, (action, states, card, reward) in enumerate(plays, start=1):
        observation, got, terminated, truncated, info = env.step(action)
        assert observation.tolist() == seen(states, action, card)
        assert (got, truncated, info["flips"]) == (reward, False, flips)
        assert info["match"] == (reward > 0)
        assert terminated == (flips == len(plays))
        if flips == 5:
            assert env.render() == "[#] [B] [#] [#]  flips 5, saw B in cell 1"


def test_layouts_repeat_with_the_seed_and_the_deck_stays():
    def play(**options):
        env = ConcentrationEnv(num_cells=6, **options)
        first = [(env.reset(seed=3)[0], env.layout.tolist(), env.deck.copy())]
        return first + [(env.reset()[0], env.layout.tolist(), env.deck.copy()) for _ in range(9)]

    fixed, again, resampled = play(), play(), play(resample_cards=True)
    assert [layout for _, layout, _ in fixed] == [layout for _, layout, _ in again]
    assert len({tuple(layout) for _, layout, _ in fixed}) > 5
    assert all((deck == fixed[0][2]).all() for *_, deck in fixed + again)
    assert all((a[2] != b[2]).all() for a, b in itertools.pairwise(resampled))


def test_wrong_use_of_the_environment_is_said():
    for options, message in [
        ({"num_cells": 5}, "even number"),
        ({"deck": np.zeros((3, 10))}, "the deck is"),
        ({"render_mode": "human"}, "there is ansi"),
    ]:
        with pytest.raises(ValueError, match=message):
            ConcentrationEnv(**options)
    env = ConcentrationEnv()
    with pytest.raises(ValueError, match="not every card twice"):
        env.reset(options={"layout": [0, 0, 0, 1]})
    env.reset()
    with pytest.raises(ValueError, match="there is no cell 4"):
        env.step(4)


# ---- many games -----------------------------------------------------------------------------


@pytest.mark.parametrize("resample", [False, True])
@pytest.mark.parametrize(("num_cells", "max_flips"), [(2, None), (4, None), (4, 7), (6, 20)])
def test_batch_and_environment_play_the_same_games(num_cells, max_flips, resample):
    rules = Rules(num_cells, card_size=3, max_flips=max_flips, resample_cards=resample)
    deck = torch.rand(rules.num_pairs, 3, generator=seeded(5))
    size, random = 7, seeded(6)
    games = ConcentrationBatch(size, rules, deck, seeded(4))
    shown = games.reset()
    envs = []
    for _ in range(size):
        envs.append(ConcentrationEnv(num_cells, 3, max_flips=max_flips))

    def start(k):
        envs[k].deck = games.games.cards[k].numpy()
        return envs[k].reset(options={"layout": games.games.layout[k].tolist()})[0]

    for k in range(size):
        np.testing.assert_array_equal(shown[k], start(k))
    ends = 0
    for _ in range(150):
        actions = torch.randint(num_cells, (size,), generator=random)
        turn = games.step(actions)
        for k, env in enumerate(envs):
            observation, reward, terminated, truncated, info = env.step(actions[k].numpy())
            assert reward == turn.reward[k] and info["flips"] == turn.flips[k]
            assert (terminated, truncated) == (turn.terminated[k], turn.truncated[k])
            if terminated or truncated:
                observation, ends = start(k), ends + 1
            np.testing.assert_array_equal(turn.observation[k], observation)
            states = [("down", "up", "empty")[state] for state in games.games.cells[k].tolist()]
            assert states == env.cells
    assert ends > 5
    assert resample == (len(torch.unique(games.games.cards, dim=0)) > 1)


def test_layouts_are_uniform_and_have_every_pair():
    layouts = batch.shuffled_layouts(6000, 4, seeded())
    kinds, counts = layouts.unique(dim=0, return_counts=True)
    assert len(kinds) == 6 and (counts - 1000).abs().max() < 150
    assert (layouts.sort(1).values == torch.tensor([0, 0, 1, 1])).all()


def test_the_same_seed_gives_the_same_games():
    def play(seed):
        rules = Rules(resample_cards=True)
        games = ConcentrationBatch(5, rules, torch.zeros(2, 10), seeded(seed))
        choose = RandomPlayer(seeded(9))
        turns = [games.step(choose(games.deck, games.games)) for _ in range(40)]
        return torch.stack([turn.observation for turn in turns])

    assert torch.equal(play(1), play(1)) and not torch.equal(play(1), play(2))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (Rules(num_cells=5), "--num_cells is 5; give an even number"),
        (Rules(num_cells=0), "--num_cells is 0"),
        (Rules(card_size=0), "--card_shape is 0"),
        (Rules(max_flips=0), "at most 0"),
    ],
)
def test_games_that_cannot_be_played(rules, message):
    with pytest.raises(UserError, match=message):
        ConcentrationBatch(1, rules, torch.zeros(2, 10), seeded())


# ---- players --------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_cells", "expected"), [(2, 2), (4, 16 / 3), (6, 26 / 3)])
def test_perfect_memory_needs_as_few_flips_as_possible(num_cells, expected):
    rules = Rules(num_cells, max_flips=100)
    flips, won = flips_of_games(PerfectMemory(), games_of(rules, 20_000), rules)
    assert won.all() and flips.min() >= num_cells
    spread = flips.double().std() / len(flips) ** 0.5
    assert abs(flips.double().mean() - expected) <= 4 * spread


def test_games_that_are_not_won_are_counted_as_such():
    rules = Rules(max_flips=6)

    def stubborn(observation, games):
        return torch.zeros(len(observation), dtype=torch.int64)

    flips, won = flips_of_games(stubborn, games_of(rules, 10), rules)
    assert not won.any() and (flips == 6).all()
    with pytest.raises(ValueError, match="give max_flips"):
        flips_of_games(stubborn, games_of(Rules(), 10), Rules())
    flips, won = flips_of_games(RandomPlayer(seeded()), games_of(rules, 400), rules)
    assert won.any() and not won.all() and (flips[~won] == 6).all()


@pytest.mark.parametrize("pairs", [2, 3])
def test_who_remembers_nothing_needs_two_n_squared_flips(pairs):
    rules = Rules(num_cells=2 * pairs, max_flips=500)
    flips, won = flips_of_games(RandomClosed(seeded()), games_of(rules, 4000), rules)
    assert won.all() and (flips % 2 == 0).all()
    error = flips.double().std().item() / 4000**0.5
    assert abs(flips.double().mean().item() - 2 * pairs**2) < 4 * error
