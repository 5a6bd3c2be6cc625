"""Many games of Concentration at once, as tensors on any device.

The rules are those of :class:`hebbian_snn.environments.concentration.ConcentrationEnv`, whose
docstring tells them. ``flip`` is a function from games and actions to games and what is seen of
them; :class:`ConcentrationBatch` deals a new game where one has ended.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from common.errors import UserError

DOWN, UP, EMPTY = 0, 1, 2
"""States of a cell."""


class Rules(NamedTuple):
    """What a game is.

    Attributes:
        num_cells: cells, one card each at the start; an even number.
        card_size: numbers on a card.
        match_reward: for a pair that is found. flip_penalty: added for every action, so it is below
            0.
        max_flips: the game is truncated after so many actions; None: it ends when it is won.
        resample_cards: every game has cards of its own.
    """

    num_cells: int = 4
    card_size: int = 10
    match_reward: float = 25.0
    flip_penalty: float = -0.5
    max_flips: int | None = None
    resample_cards: bool = False

    @property
    def num_pairs(self) -> int:
        """Different cards of a game."""
        return self.num_cells // 2

    @property
    def observation_size(self) -> int:
        """Numbers of an observation: state of every cell, position, card."""
        return 4 * self.num_cells + self.card_size


class Games(NamedTuple):
    """Games that are played side by side.

    Attributes:
        cards: (B, pairs, card_size). layout: (B, cells) int64, which of them lies in a cell.
        cells: (B, cells) int64, DOWN, UP or EMPTY. flips: (B,) int64, actions so far.
    """

    cards: Tensor
    layout: Tensor
    cells: Tensor
    flips: Tensor


class Turn(NamedTuple):
    """What an action has brought, in each game.

    Attributes:
        observation: (B, observation_size). reward: (B,).
        terminated: (B,) bool, no card is left. truncated: (B,) bool, not won in ``max_flips``.
        flips: (B,) int64, actions of the game so far; where it has ended, in all.
    """

    observation: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    flips: Tensor

    @property
    def ended(self) -> Tensor:
        """(B,) bool."""
        return self.terminated | self.truncated


def check_rules(rules: Rules) -> None:
    """Raise :class:`UserError` for a game that cannot be played."""
    if rules.num_cells < 2 or rules.num_cells % 2:
        raise UserError(f"--num_cells is {rules.num_cells}; give an even number, 2 or more")
    if rules.card_size < 1:
        raise UserError(f"--card_shape is {rules.card_size}; give 1 or more")
    if rules.max_flips is not None and rules.max_flips < 1:
        raise UserError(f"the flips of a game are at most {rules.max_flips}; give 1 or more")


def deal(layout: Tensor, cards: Tensor) -> Games:
    """Games at their start, from (B, cells) layouts and (B, pairs, card_size) cards."""
    down = torch.full_like(layout, DOWN)
    return Games(cards, layout, down, down[:, 0])


def shuffled_layouts(num_games: int, num_cells: int, random: Generator) -> Tensor:
    """(B, cells): each of the pairs in two random places."""
    draws = torch.rand(num_games, num_cells, generator=random, device=random.device)
    return draws.argsort(1) // 2


def observe(games: Games, position: Tensor, card: Tensor) -> Tensor:
    """(B, observation_size): state of every cell, one-hot (down, up, empty) cell by cell; the
    one-hot position (B,); the card (B, card_size) that was seen."""
    states = torch.nn.functional.one_hot(games.cells, 3).flatten(1)
    place = torch.nn.functional.one_hot(position, games.cells.shape[1])
    return torch.cat([states.to(card.dtype), place.to(card.dtype), card], 1)


def first_observation(games: Games) -> Tensor:
    """What is seen before the first action: (B, observation_size)."""
    return observe(games, torch.zeros_like(games.flips), torch.zeros_like(games.cards[:, 0]))


def flip(games: Games, actions: Tensor, rules: Rules) -> tuple[Games, Turn]:
    """Flip the card in one cell (B,) of each game."""
    chosen, which = actions[:, None], torch.arange(len(actions), device=actions.device)
    flipped = games.cells.gather(1, chosen)
    flipped = torch.where(flipped == EMPTY, EMPTY, UP - flipped)  # up and down change places
    cells = games.cells.scatter(1, chosen, flipped)
    cards = games.cards[which, games.layout[which, actions]]
    seen = torch.where(flipped == UP, cards, torch.zeros_like(cards))

    open_ = cells == UP
    two = open_.sum(1) == 2
    highest = games.layout.masked_fill(~open_, -1).amax(1)
    lowest = games.layout.masked_fill(~open_, rules.num_pairs).amin(1)
    match = two & (highest == lowest)
    outcome = torch.where(match, EMPTY, DOWN)[:, None].expand_as(cells)
    cells = torch.where(open_ & two[:, None], outcome, cells)

    games = games._replace(cells=cells, flips=games.flips + 1)
    terminated = (cells == EMPTY).all(1)
    late = (
        torch.zeros_like(terminated) if rules.max_flips is None else games.flips >= rules.max_flips
    )
    reward = match.to(cards.dtype) * rules.match_reward + rules.flip_penalty
    observation = observe(games, actions, seen)
    return games, Turn(observation, reward, terminated, late & ~terminated, games.flips)


class ConcentrationBatch:
    """Games with a new one dealt, in the same step, wherever one ends.

    Args:
        num_games: B. rules: of all of them.
        deck: (pairs, card_size), the cards of every game; not used with ``resample_cards``.
        random: for positions and resampled cards; its device is that of the games.
    """

    def __init__(self, num_games: int, rules: Rules, deck: Tensor, random: Generator) -> None:
        check_rules(rules)
        self.num_games, self.rules, self.random = num_games, rules, random
        self.deck = deck.to(random.device)
        self.games = self._deal()

    def _deal(self) -> Games:
        rules, random = self.rules, self.random
        layout = shuffled_layouts(self.num_games, rules.num_cells, random)
        size = (self.num_games, rules.num_pairs, rules.card_size)
        if rules.resample_cards:
            return deal(layout, torch.rand(size, generator=random, device=random.device))
        return deal(layout, self.deck.expand(size))

    def reset(self) -> Tensor:
        """Deal anew everywhere; returns the (B, observation_size) first observations."""
        self.games = self._deal()
        return first_observation(self.games)

    def step(self, actions: Tensor) -> Turn:
        """Flip one card (B,) in each game.

        Where a game has ended the observation is the first of the next game; reward, ends and
        flips are those of the old one.
        """
        games, turn = flip(self.games, actions, self.rules)
        fresh, ended = self._deal(), turn.ended
        self.games = Games(
            *(
                torch.where(ended.view(-1, *[1] * (old.dim() - 1)), new, old)
                for old, new in zip(games, fresh, strict=True)
            )
        )
        observation = torch.where(ended[:, None], first_observation(fresh), turn.observation)
        return turn._replace(observation=observation)
