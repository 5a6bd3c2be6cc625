"""The card game Concentration (Memory, Pairs) for one player, as a Gymnasium environment."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

ENVIRONMENT_ID = "Concentration-v0"
"""``gymnasium.make("hebbian_snn.environments.concentration:Concentration-v0")`` finds it."""

_STATES = ("down", "up", "empty")


class ConcentrationEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Find all pairs of equal cards with as few flips as possible.

    ## Description
    Every cell holds a card, face down; every card is there twice. The player flips one card at a
    time. As soon as two cards are up they are compared: two equal ones are taken away, two
    different ones are turned back. A card is a vector of random numbers, so the player has to keep
    in mind what was seen where. Positions are shuffled in every game.

    ## Actions
    ``Discrete(num_cells)``: the cell whose card is flipped. A card that is up is turned back; an
    empty cell stays as it is. Both cost as much as any other action.

    ## Observations
    ``Box(0, 1, (4 * num_cells + card_size,), float32)``:

    | numbers | what |
    |---|---|
    | 3 for each cell | its state, one-hot: down, up, empty; **after** two cards were compared |
    | ``num_cells`` | the cell of the last action, one-hot |
    | ``card_size`` | the card in that cell **before** two cards were compared; zeros for none |

    So the second card of a pair is seen although it is no longer up; a card that is turned back and
    an empty cell show zeros.

    ## Rewards
    ``flip_penalty`` (below 0) for every action, and ``+match_reward`` for a pair.

    ## Start
    All cards are down; the position is 0 and the card is zeros.

    ## End
    *Terminated* when no card is left. *Truncated* after ``max_flips`` actions; never without.

    ## Information
    ``flips``, actions so far; ``card``, which of the pairs was seen last, -1 for none; ``match``,
    whether the action found a pair.

    ## Options of ``reset``
    ``layout``: (num_cells,), which of the pairs lies in every cell, in place of a shuffled one.

    ## Arguments
    ``num_cells``: even. ``card_size``: numbers of a card. ``deck``: (num_cells / 2, card_size), the
    cards; by default drawn from U(0, 1) at the first reset, and at every one with a seed, and kept.
    ``resample_cards``: draw new cards in every game. ``match_reward``, ``flip_penalty``,
    ``max_flips``: see above.

    ## Performance of players
    Mean flips of a player who forgets nothing: 5.33 with 4 cards, 8.67 with 6.

    ## Source
    Limbacher, Özdenizci, Legenstein, TNNLS 2023. Version 0.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(
        self,
        num_cells: int = 4,
        card_size: int = 10,
        deck: np.ndarray | None = None,
        resample_cards: bool = False,
        match_reward: float = 25.0,
        flip_penalty: float = -0.5,
        max_flips: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if num_cells < 2 or num_cells % 2:
            raise ValueError(f"num_cells is {num_cells}; give an even number, 2 or more")
        self.deck = None if deck is None else np.asarray(deck, np.float32)
        self._deck_given = deck is not None
        if self.deck is not None and self.deck.shape != (num_cells // 2, card_size):
            raise ValueError(f"the deck is {self.deck.shape}, not {(num_cells // 2, card_size)}")
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode is {render_mode!r}; there is ansi")
        self.num_cells, self.card_size, self.resample_cards = num_cells, card_size, resample_cards
        self.match_reward, self.flip_penalty = match_reward, flip_penalty
        self.max_flips, self.render_mode = max_flips, render_mode
        self.action_space = spaces.Discrete(num_cells)
        self.observation_space = spaces.Box(0, 1, (4 * num_cells + card_size,), np.float32)
        self.layout, self.cells = np.zeros(num_cells, int), ["down"] * num_cells
        self.flips = self.position = 0
        self.card = -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Shuffle and deal."""
        super().reset(seed=seed)
        fresh = seed is not None and not self._deck_given  # the same game for the same seed
        if self.deck is None or self.resample_cards or fresh:
            size = (self.num_cells // 2, self.card_size)
            self.deck = self.np_random.random(size, dtype=np.float32)
        pairs = np.repeat(np.arange(self.num_cells // 2), 2)
        self.layout = self.np_random.permutation(pairs)
        if options and "layout" in options:
            self.layout = np.asarray(options["layout"])
            if sorted(self.layout) != sorted(pairs):
                raise ValueError(f"the layout {self.layout.tolist()} has not every card twice")
        self.cells = ["down"] * self.num_cells
        self.flips, self.position, self.card = 0, 0, -1
        return self._observe(), self._info(False)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Flip the card in the cell ``action``."""
        if not self.action_space.contains(action):
            raise ValueError(f"there is no cell {action!r}; there are 0 to {self.num_cells - 1}")
        self.position, self.card = int(action), -1
        self.flips += 1
        if self.cells[action] == "up":
            self.cells[action] = "down"
        elif self.cells[action] == "down":
            self.cells[action] = "up"
            self.card = int(self.layout[action])
        match = self._compare()
        terminated = all(state == "empty" for state in self.cells)
        truncated = not terminated and self.max_flips is not None and self.flips >= self.max_flips
        reward = (self.match_reward if match else 0.0) + self.flip_penalty
        return self._observe(), reward, terminated, truncated, self._info(match)

    def _compare(self) -> bool:
        """Take away or turn back two open cards; whether they were a pair."""
        opened = [cell for cell, state in enumerate(self.cells) if state == "up"]
        if len(opened) < 2:
            return False
        match = self.layout[opened[0]] == self.layout[opened[1]]
        for cell in opened:
            self.cells[cell] = "empty" if match else "down"
        return bool(match)

    def _observe(self) -> np.ndarray:
        states = np.array([[state == name for name in _STATES] for state in self.cells])
        place = np.arange(self.num_cells) == self.position
        card = np.zeros(self.card_size) if self.card < 0 else self.deck[self.card]
        return np.concatenate([states.ravel(), place, card]).astype(np.float32)

    def _info(self, match: bool) -> dict[str, Any]:
        return {"flips": self.flips, "card": self.card, "match": match}

    def render(self) -> str | None:
        """The table as one line of text: ``[A] [#] [ ] [#]  flips 3, saw A in cell 0``."""
        if self.render_mode != "ansi":
            return None
        faces = {"down": "#", "empty": " "}
        cells = [
            f"[{faces.get(state, _letter(card))}]"
            for state, card in zip(self.cells, self.layout, strict=True)
        ]
        seen = f", saw {_letter(self.card)} in cell {self.position}" if self.card >= 0 else ""
        return f"{' '.join(cells)}  flips {self.flips}{seen}"


def _letter(card: int) -> str:
    return chr(ord("A") + int(card) % 26)


gymnasium.register(ENVIRONMENT_ID, entry_point=ConcentrationEnv)
