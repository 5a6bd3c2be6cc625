"""Concentration: learning curves, and the flips that trained policies need.

    python -m hebbian_snn.figures.concentration --profile quick

Policies play test games with their most likely actions: 100 (quick) or 1000 (full), given up after
200 flips, which is said. The same games are played by one who forgets nothing, by one who flips any
closed card, by one who flips any cell, and by the same policy with synapses that do not learn
(gamma_pos = 0). Curves are those of
the training, where actions are drawn. Policies that are not trained yet are left out, and said to
be missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.checkpoints import check_metadata
from common.drawing import CYCLE, DOUBLE_COLUMN, panel_label, use_style
from common.errors import command_line
from common.records import Measurement, Record, mean_measurement, new_record
from common.settings import to_dict
from common.training import generator, progress
from hebbian_snn.environments.players import (
    PerfectMemory,
    Player,
    RandomClosed,
    RandomPlayer,
    flips_of_games,
)
from hebbian_snn.figures.comparison import (
    Comparison,
    Plan,
    missing_measurements,
    run_figure,
)
from hebbian_snn.reinforcement.task import ConcentrationTask, GreedyPlayer
from hebbian_snn.training.trained import TrainedNetwork, build_from

PLAYERS = (
    "perfect memory",
    "policy",
    "policy without plasticity",
    "random closed cards",
    "random",
)


@dataclass(frozen=True)
class ConcentrationFigureSettings:
    """What stands in ``hebbian_snn/settings/figure_concentration.yaml``: policies by name, and test
    games of each."""

    networks: tuple[str, ...]
    games_quick: int
    games_full: int


# ---- measuring ------------------------------------------------------------------------------


def players_of(trained: TrainedNetwork, device: torch.device) -> dict[str, Player]:
    """The players that a policy is compared with, and itself, by the names in ``PLAYERS``."""
    settings = trained.task.settings
    silent = replace(settings, network=replace(settings.network, gamma_pos=0.0))
    task = ConcentrationTask(silent, trained.task.seed)
    random = generator(settings.game.env_seed, "random player", device=device)
    closed = generator(settings.game.env_seed, "random closed cards", device=device)
    return {
        "perfect memory": PerfectMemory(),
        "policy": GreedyPlayer(trained.network),
        "policy without plasticity": GreedyPlayer(build_from(task, trained.checkpoint, device)),
        "random closed cards": RandomClosed(closed),
        "random": RandomPlayer(random),
    }


def compute(
    plan: Plan, settings: ConcentrationFigureSettings
) -> tuple[Record, dict[str, np.ndarray]]:
    """Let all policies of the plan and those they are compared with play.

    Returns:
        the record; for every policy ``"NAME-steps"`` and ``"NAME-curve"`` (lines of the log,),
        actions so far and mean flips of a game, and ``"NAME-flips"`` and ``"NAME-interval"`` (5,),
        in the order of ``PLAYERS``.
    """
    record = new_record(
        FIGURE.name,
        "Hebbian memory",
        plan.profile,
        device=plan.device,
        settings={"figure": to_dict(settings), "games": plan.samples},
        seeds=sorted({net.task.seed for net in plan.networks.values()}),
        data="generated",
        checkpoints={name: net.checkpoint.sha256 for name, net in plan.networks.items()},
    )
    arrays: dict[str, np.ndarray] = {}
    for name, trained in progress(plan.networks.items(), unit="policy"):
        check_metadata(trained.checkpoint, {"curve": [{"epoch": int, "flips": float}]})
        curve = trained.checkpoint.metadata["curve"]
        steps = trained.task.settings.training.steps_of_update
        arrays[f"{name}-steps"] = np.array([line["epoch"] * steps for line in curve])
        arrays[f"{name}-curve"] = np.array([line["flips"] for line in curve])
        players = players_of(trained, plan.device)
        found = [_play(name, trained, kind, players[kind], plan) for kind in PLAYERS]
        record.measurements += found
        arrays[f"{name}-flips"] = np.array([m.value for m in found])
        arrays[f"{name}-interval"] = np.array([m.interval95 or 0.0 for m in found])
    record.measurements += missing_measurements(plan)
    return record, arrays


def _play(name: str, trained: TrainedNetwork, kind: str, player: Player, plan: Plan) -> Measurement:
    """The flips of the test games."""
    settings, metadata = trained.task.settings, trained.checkpoint.metadata
    evaluation = replace(settings.evaluation, evaluation_games=plan.samples)
    task = ConcentrationTask(replace(settings, evaluation=evaluation), trained.task.seed)
    flips, won = flips_of_games(player, *task.test_games(plan.device))
    note = f"{int((~won).sum())} games were given up after {evaluation.max_flips} flips"
    if kind == "policy":
        note += (
            f"; {settings.game.num_time_steps if not settings.relu else 1} steps an observation; "
            f"trained with {metadata['epochs'] * settings.training.steps_of_update} actions; the "
            "time is that of the training"
        )
    is_policy = kind == "policy"
    return mean_measurement(
        f"{name.replace('_', ' ')}, {kind}: flips of a game",
        flips.double().cpu().numpy(),
        data="generated",
        seeds=[trained.task.seed] if is_policy else [],
        seconds=metadata["seconds"] if is_policy else None,
        command=metadata["command"] if is_policy else "",
        checkpoint=trained.checkpoint.sha256[:12] if kind.startswith("policy") else "",
        note=note,
    )


# ---- drawing --------------------------------------------------------------------------------


def draw(record: Record, arrays: dict[str, np.ndarray]) -> Figure:
    """Mean flips in the course of training (a), and of the test games by player (b)."""
    names = [key.removesuffix("-curve") for key in arrays if key.endswith("-curve")]
    with use_style():
        figure = Figure(figsize=(DOUBLE_COLUMN, 2.6), layout="constrained")
        axes = figure.subplots(1, 2, width_ratios=(1.1, 1))
        for name, color in zip(names, CYCLE, strict=False):
            axes[0].plot(
                arrays[f"{name}-steps"], arrays[f"{name}-curve"], color=color, label=_label(name)
            )
            axes[0].axhline(arrays[f"{name}-flips"][0], color=color, lw=0.7, ls=":")
        axes[0].plot([], [], ":", color="0.4", lw=0.7, label="perfect memory")
        axes[0].set(xlabel="actions in all games", ylabel="flips of a game", yscale="log")
        _plain_ticks(axes[0], max(arrays[f"{name}-curve"].max() for name in names))
        axes[0].ticklabel_format(axis="x", scilimits=(-2, 3), useMathText=True)
        axes[0].legend(loc="upper right")
        _draw_players(axes[1], arrays, names)
        for ax, letter in zip(axes, "ab", strict=True):
            panel_label(ax, letter)
    return figure


def _draw_players(ax: Axes, arrays: dict[str, np.ndarray], names: Sequence[str]) -> None:
    width, places = 0.16, np.arange(len(names))
    for number, (kind, color) in enumerate(zip(PLAYERS, CYCLE, strict=False)):
        flips = np.array([arrays[f"{name}-flips"][number] for name in names])
        interval = np.array([arrays[f"{name}-interval"][number] for name in names])
        x = places + (number - 2) * width
        ax.bar(x, flips, width, color=color, label=kind)
        ax.errorbar(x, flips, interval, fmt="none", ecolor="0.1", capsize=1, lw=0.6)
        for place, value, half in zip(x, flips, interval, strict=True):
            ax.annotate(
                f"{value:.1f}",
                (place, value + half),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=5,
            )
    ax.set_xticks(places, [_label(name).replace(", ", "\n") for name in names])
    ax.tick_params(axis="x", length=0)
    ax.set(ylabel="flips of a test game", yscale="log")
    _plain_ticks(ax, max(arrays[f"{name}-flips"].max() for name in names))
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)


def _plain_ticks(ax: Axes, highest: float) -> None:
    """Whole numbers on a logarithmic axis of flips up to ``highest``."""
    ticks = [1, 2, 5, 10, 20, 50, 100, 200]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.set_ylim(1, 1.5 * highest)
    ax.minorticks_off()


def _label(name: str) -> str:
    """``concentration_relu_4_resampled`` as ``4 cards, ReLU twin, resampled``."""
    words = name.split("_")[1:]
    number = next((word for word in words if word.isdigit()), "")
    parts = [f"{number} cards"] if number else []
    parts += ["ReLU twin"] if "relu" in words else []
    parts += ["resampled"] if "resampled" in words else []
    if "steps" in words:
        parts.append(f"{words[words.index('steps') - 1]} ms")
    return ", ".join(parts) or name


# ---- command line ---------------------------------------------------------------------------


def training_command(name: str) -> str:
    """What trains the policy of this name."""
    words = name.split("_")
    flags = ["--relu"] if "relu" in words else []
    flags += [f"--num_cells {next((word for word in words if word.isdigit()), 4)}"]
    flags += ["--num_steps 100"] if "6" in words[:3] else []
    flags += ["--resample_cards"] if "resampled" in words else []
    if "steps" in words:
        flags.append(f"--num_time_steps {words[words.index('steps') - 1]}")
    return f"python -m hebbian_snn.reinforcement_learning_task {' '.join(flags)}"


FIGURE = Comparison(
    name="Concentration",
    task_type=ConcentrationTask,
    module="hebbian_snn.figures.concentration",
    makes=training_command,
    settings="figure_concentration",
    folder="hebbian_concentration",
    unit="test games",
)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    settings = FIGURE.load(ConcentrationFigureSettings)
    games = settings.games_quick, settings.games_full
    compute_all = partial(compute, settings=settings)
    run_figure(FIGURE, __doc__, settings.networks, games, compute_all, draw, argv)


if __name__ == "__main__":
    sys.exit(main())
