"""One game of Concentration with the policy's memory beside it, as a picture and as an animation.

    python -m hebbian_snn.figures.concentration_game --network concentration_4

Left: the cards as they lie after each flip, before two open cards are compared; the cell that was
flipped has a frame, and letters of cards that are down are pale, the policy does not see them. In
the middle: the chances that the policy gives to the cells for its next flip. Right: the memory
after the observation, from keys (columns) to values (rows). Both profiles do the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from common.animation import figure_frames, save_animation
from common.drawing import CYCLE, DOUBLE_COLUMN, use_style
from common.errors import UserError, command_line
from common.records import Measurement, Record, new_record
from common.results import report_results, result_parser
from common.settings import to_dict
from hebbian_snn.environments.concentration_batch import (
    DOWN,
    EMPTY,
    UP,
    deal,
    first_observation,
    flip,
)
from hebbian_snn.reinforcement.task import ConcentrationTask
from hebbian_snn.training.trained import TrainedNetwork, load_network, need_shipped

NAME = "Concentration: one game"
SHOWN = 8
"""Flips in the picture; the animation has all."""
FPS = 1
SHIPPED = "concentration_4"


@torch.no_grad()
def compute(
    trained: TrainedNetwork, number: int, profile: str = "full"
) -> tuple[Record, dict[str, np.ndarray]]:
    """Play a test game with the most likely actions.

    Returns:
        the record; ``layout`` (cells,); and for every observation k, of which the first is that
        before the first flip: ``cells`` (K, cells), states before open cards are compared;
        ``actions`` (K,), the cell flipped, -1 at first; ``chances`` (K, cells) of the next flip;
        ``mem`` (K, M, M) or, of the twin, the same.

    Raises :class:`UserError` for a game that there is not.
    """
    games, rules = trained.task.test_games(trained.network.deck.device)
    if not 0 <= number < len(games.flips):
        raise UserError(f"there is no test game {number}; there are 0 to {len(games.flips) - 1}")
    game = deal(games.layout[number : number + 1], games.cards[number : number + 1])
    state = trained.network.start(1)
    observation, ended = first_observation(game), False
    shown, actions = [game.cells[0]], [-1]
    chances, memories = [], []
    while True:
        logits, _, state = trained.network(observation, state)
        chances.append(logits[0].softmax(0))
        memories.append((state if torch.is_tensor(state) else state.mem)[0])
        if ended:
            break
        action = logits.argmax(1)
        before = game.cells[0].clone()
        before[action] = torch.tensor([UP, DOWN, EMPTY])[before[action]]
        game, turn = flip(game, action, rules)
        shown.append(before)
        actions.append(int(action))
        observation, ended = turn.observation, bool(turn.ended)
    arrays = {
        "layout": game.layout[0].numpy(),
        "cells": torch.stack(shown).numpy(),
        "actions": np.array(actions),
        "chances": torch.stack(chances).numpy(),
        "mem": torch.stack(memories).numpy(),
    }
    record = new_record(
        NAME,
        "Hebbian memory",
        profile,
        settings={"network": to_dict(trained.task.settings), "game": number},
        seeds=[trained.task.seed],
        data="generated",
        checkpoints={trained.checkpoint.name: trained.checkpoint.sha256},
    )
    won = "won" if bool(turn.terminated) else "given up"
    record.measurements = [
        Measurement("flips of the game", int(turn.flips), note=f"test game {number}, {won}")
    ]
    return record, arrays


# ---- drawing --------------------------------------------------------------------------------


def draw_table(ax: Axes, arrays: dict[str, np.ndarray], k: int) -> None:
    """The cards as they lie at observation k."""
    ax.clear()
    cells, layout = arrays["cells"][k], arrays["layout"]
    for cell, (state, card) in enumerate(zip(cells, layout, strict=True)):
        if state == EMPTY:
            continue
        color = CYCLE[card % len(CYCLE)] if state == UP else "0.85"
        ax.add_patch(Rectangle((cell - 0.42, 0.05), 0.84, 0.9, color=color, lw=0))
        ax.text(
            cell,
            0.5,
            chr(ord("A") + int(card) % 26),
            color="white" if state == UP else "0.7",
            ha="center",
            va="center",
            fontweight="bold" if state == UP else "normal",
        )
    if arrays["actions"][k] >= 0:
        place = (arrays["actions"][k] - 0.47, 0.0)
        ax.add_patch(Rectangle(place, 0.94, 1.0, fill=False, ec="0.1", lw=1.2))
    ax.set(xlim=(-0.6, len(cells) - 0.4), ylim=(-0.05, 1.05), yticks=[], aspect="equal")
    ax.set_xticks(range(len(cells)))
    ax.tick_params(axis="x", length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def _draw_memory(ax: Axes, arrays: dict[str, np.ndarray], k: int) -> None:
    ax.clear()
    highest = max(float(arrays["mem"].max()), 1e-12)
    ax.imshow(arrays["mem"][k], cmap="magma_r", vmin=0, vmax=highest, aspect="auto")
    ax.set(xticks=[], yticks=[])


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """The table and the memory after the first flips."""
    count = min(SHOWN, len(arrays["actions"]))
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 1.9), layout="constrained")
        axes = figure.subplots(2, count, height_ratios=(0.6, 1), squeeze=False)
        for k in range(count):
            draw_table(axes[0, k], arrays, k)
            _draw_memory(axes[1, k], arrays, k)
            axes[0, k].set(title=f"flip {k}" if k else "start", xticks=[])
        axes[1, 0].set(ylabel="value neuron")
        for ax in axes[1]:
            ax.set_xlabel("key neuron")
    return figure


def scene(arrays: dict[str, np.ndarray]) -> tuple[Figure, Callable[[int], None], int]:
    """The figure of the animation, what changes it to observation k, and their number."""
    count, n_cells = arrays["chances"].shape
    with use_style():
        figure = Figure(figsize=(6.4, 2.4), layout="constrained")
        axes = figure.subplots(1, 3, width_ratios=(1.5, 0.9, 1))

    def update(k: int) -> None:
        with use_style():
            draw_table(axes[0], arrays, k)
            axes[0].set(title=f"flip {k}" if k else "start", xlabel="cell")
            axes[1].clear()
            axes[1].bar(np.arange(n_cells), arrays["chances"][k], color=CYCLE[0])
            axes[1].set(ylim=(0, 1.02), xlabel="cell", ylabel="chance of the next flip")
            axes[1].set_xticks(range(n_cells))
            axes[1].tick_params(labelsize=6.5)
            _draw_memory(axes[2], arrays, k)
            axes[2].set(title="memory", xlabel="key neuron", ylabel="value neuron")

    return figure, update, count


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = result_parser(
        "hebbian_snn.figures.concentration_game",
        __doc__,
        "hebbian_concentration_game",
        "both are the same",
    )
    parser.add_argument("--network", help=f"name or checkpoint file (default: {SHIPPED})")
    parser.add_argument("--game", type=int, default=0, help="test game, from 0 (default: 0)")
    args = parser.parse_args(argv)
    trained = load_network(ConcentrationTask, args.network or need_shipped(SHIPPED))
    record, arrays = compute(trained, args.game, args.profile)
    report_results(args.out, record, arrays, draw(record, arrays))
    figure, update, count = scene(arrays)
    save_animation(args.out / "game.gif", figure_frames(figure, update, count, dpi=110), FPS)
    print(f"animation: {args.out / 'game.gif'}")


if __name__ == "__main__":
    sys.exit(main())
