"""Players to compare with, and how many flips a player needs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from hebbian_snn.environments.concentration_batch import (
    DOWN,
    UP,
    Games,
    Rules,
    first_observation,
    flip,
)

Player = Callable[[Tensor, Games], Tensor]
"""Chooses a cell (B,) from the observations (B, D). The games are there for those who may look: a
network decides by the observation alone."""


class RandomPlayer:
    """Flips any cell, also empty ones.

    Args:
        random: for the choices; on the device of the games.
    """

    def __init__(self, random: Generator) -> None:
        self.random = random

    def __call__(self, observation: Tensor, games: Games) -> Tensor:
        size, num_cells = games.cells.shape
        options = {"generator": self.random, "device": observation.device}
        return torch.randint(num_cells, (size,), **options)


class RandomClosed:
    """Flips any closed card and remembers none: of n pairs in 2 n^2 flips on average, for with k
    pairs left two closed cards match once in 2 k - 1 tries.

    Args:
        random: for the choices; on the device of the games.
    """

    def __init__(self, random: Generator) -> None:
        self.random = random

    def __call__(self, observation: Tensor, games: Games) -> Tensor:
        options = {"generator": self.random, "device": observation.device}
        draws = torch.rand(games.cells.shape, **options)
        return draws.masked_fill(games.cells != DOWN, -1).argmax(1)


class PerfectMemory:
    """Forgets nothing, and plays as well as one can: takes a pair that is known, else flips a card
    not seen yet.

    It looks at the layout only where it has seen the card.
    """

    def __init__(self) -> None:
        self.known: Tensor | None = None

    def __call__(self, observation: Tensor, games: Games) -> Tensor:
        num_cells = games.cells.shape[1]
        position = observation[:, 3 * num_cells : 4 * num_cells] > 0
        saw_card = observation[:, 4 * num_cells :].any(1, keepdim=True)
        if self.known is None:
            self.known = torch.zeros_like(position)
        # A game that begins anew has seen nothing.
        self.known = (self.known & (games.flips > 0)[:, None]) | (position & saw_card)
        down = games.cells == DOWN
        same = games.layout[:, :, None] == games.layout[:, None, :]
        same &= ~torch.eye(num_cells, dtype=torch.bool, device=same.device)
        # (B, cells): known, down, and the partner is up or known and down.
        partner_up = (same & (games.cells == UP)[:, None, :]).any(2)
        partner_known = (same & (down & self.known)[:, None, :]).any(2)
        any_up = (games.cells == UP).any(1, keepdim=True)
        pays = down & self.known & torch.where(any_up, partner_up, partner_known)
        unseen = down & ~self.known
        return (2 * pays.int() + unseen.int()).argmax(1)


@torch.no_grad()
def flips_of_games(player: Player, games: Games, rules: Rules) -> tuple[Tensor, Tensor]:
    """Play games to their end, all at once.

    Args:
        player: chooses. games: (B, ...) at their start. rules: with ``max_flips``.

    Returns:
        flips (B,) int64 and whether each game was won (B,), not truncated.
    """
    if rules.max_flips is None:
        raise ValueError("a player may never end a game: give max_flips")
    observation = first_observation(games)
    won = torch.zeros_like(games.flips, dtype=torch.bool)
    flips = torch.full_like(games.flips, rules.max_flips)
    for _ in range(rules.max_flips):
        games, turn = flip(games, player(observation, games), rules)
        flips = torch.where(turn.terminated & ~won, turn.flips, flips)
        won |= turn.terminated
        observation = turn.observation
        if won.all():
            break
    return flips, won
