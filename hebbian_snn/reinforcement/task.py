"""Learning to play Concentration: settings, training and evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor

from common.checkpoints import restore, save_training_state
from common.runs import RunFiles
from common.settings import option, to_dict
from common.training import MetricLog, check_finite, generator, progress
from hebbian_snn.config import NetworkSettings
from hebbian_snn.environments.concentration_batch import (
    ConcentrationBatch,
    Games,
    Rules,
    deal,
    shuffled_layouts,
)
from hebbian_snn.environments.players import flips_of_games
from hebbian_snn.kernels.checks import check_noted
from hebbian_snn.neurons import map_state
from hebbian_snn.reinforcement.policy import Policy, ReLURecall, SpikingRecall
from hebbian_snn.reinforcement.ppo import PPOSettings, Rollout, improve, play


@dataclass(frozen=True)
class GameSettings:
    """Concentration, and how it is shown."""

    num_cells: int = option("cells, two for every pair of cards", minimum=2, maximum=1000)
    card_shape: int = option("numbers of a card", minimum=1)
    resample_cards: bool = option("new cards in every game")
    match_reward: float = option("reward for a pair that is found")
    flip_penalty: float = option("added to the reward of every action; below 0")
    num_time_steps: int = option("steps of an observation, ms", minimum=1)
    env_seed: int = option("random seed of cards, deals and evaluation", minimum=0)

    def __post_init__(self) -> None:
        if self.num_cells % 2:
            raise ValueError(f"num_cells is {self.num_cells}; give an even number")

    def rules(self, max_flips: int | None = None) -> Rules:
        """Of a game that ends after ``max_flips`` at the latest."""
        return Rules(
            self.num_cells,
            self.card_shape,
            self.match_reward,
            self.flip_penalty,
            max_flips,
            self.resample_cards,
        )


@dataclass(frozen=True)
class HeadSettings:
    """Actor and critic."""

    hidden_size: int = option("units of the two layers of the heads", minimum=1)


@dataclass(frozen=True)
class EvaluationSettings:
    """Games that are played with the most likely actions."""

    evaluation_games: int = option("games of the test", minimum=1)
    max_flips: int = option("a game is given up after so many", minimum=1)


@dataclass(frozen=True)
class ReinforcementSettings:
    """Everything about one policy."""

    relu: bool = option("the twin without spikes")
    game: GameSettings
    network: NetworkSettings
    heads: HeadSettings
    training: PPOSettings
    evaluation: EvaluationSettings

    @classmethod
    def migrated(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings in which ``flip_penalty`` was subtracted: they have no decay of the rate yet."""
        game, training = values.get("game"), values.get("training")
        if not isinstance(game, Mapping) or not isinstance(training, Mapping):
            return values
        if "learning_rate_decay" in training or "flip_penalty" not in game:
            return values
        return {**values, "game": {**game, "flip_penalty": -game["flip_penalty"]}}


class ConcentrationTask:
    """The game with its settings; attributes as those of ``training.task.SupervisedTask``."""

    name: ClassVar[str] = "reinforcement_learning"
    settings_type: ClassVar[type] = ReinforcementSettings
    varied: ClassVar[tuple[str, ...]] = ("num_cells", "num_steps", "resample_cards")
    may_differ: ClassVar[tuple[str, ...]] = (
        "evaluation.evaluation_games",
        "evaluation.max_flips",
    )

    def __init__(self, settings: ReinforcementSettings, seed: int) -> None:
        self.settings, self.seed = settings, seed

    @property
    def checkpoint_name(self) -> str:
        """Of the shipped checkpoint, without folder and suffix."""
        game, network = self.settings.game, self.settings.network
        parts = {
            "relu": self.settings.relu,
            str(game.num_cells): True,
            "resampled": game.resample_cards,
            f"{game.num_time_steps}_steps": not self.settings.relu and game.num_time_steps != 100,
            "no_memory": network.gamma_pos == 0,
        }
        return "_".join(["concentration", *(part for part, given in parts.items() if given)])

    def memory_needs(self) -> dict[str, float]:
        """As of :meth:`hebbian_snn.training.task.SupervisedTask.memory_needs`."""
        settings, training = self.settings, self.settings.training
        inputs = 4.0 * self.rules.observation_size
        keys, games = settings.network.memory_size, training.num_envs
        steps = 4.0 * settings.game.num_time_steps * settings.network.embedding_size
        return {
            "--num_envs, --num_steps": games * training.num_steps * inputs,
            "--memory_size, --num_envs": 4.0 * games * keys * keys,
            "--num_time_steps, --embedding_size": games * steps,
            "--evaluation_games": settings.evaluation.evaluation_games * inputs,
            "--hidden_size, --embedding_size": 4.0
            * inputs
            * (settings.heads.hidden_size + settings.network.embedding_size),
        }

    def data_summary(self) -> dict[str, Any]:
        """What a checkpoint says of the data, besides the settings."""
        return {}

    sources = front_ends = data_summary

    @property
    def rules(self) -> Rules:
        """Of the games of the training, which have no limit."""
        return self.settings.game.rules()

    @property
    def deck(self) -> Tensor:
        """The (pairs, card_size) cards of every game."""
        rules = self.rules
        draw = generator(self.settings.game.env_seed, "deck")
        return torch.rand(rules.num_pairs, rules.card_size, generator=draw)

    def build(self, generator: Generator, backend: str = "auto") -> Policy:
        """The policy at its start."""
        settings, rules = self.settings, self.rules
        n_inputs = rules.observation_size
        recall: SpikingRecall | ReLURecall
        if settings.relu:
            recall = ReLURecall(n_inputs, settings.network, generator)
        else:
            steps = settings.game.num_time_steps
            recall = SpikingRecall(n_inputs, steps, settings.network, generator, backend)
        hidden = settings.heads.hidden_size
        return Policy(recall, n_inputs, rules.num_cells, hidden, self.deck, generator)

    def test_games(self, device: torch.device, seed: int = 0) -> tuple[Games, Rules]:
        """The games of the evaluation, and their rules. They depend on ``env_seed`` and ``seed``
        alone."""
        settings, rules = (
            self.settings,
            self.settings.game.rules(self.settings.evaluation.max_flips),
        )
        draw = generator(settings.game.env_seed, "evaluation", seed)
        count = settings.evaluation.evaluation_games
        cards = self.deck.expand(count, -1, -1)
        layout = shuffled_layouts(count, rules.num_cells, draw)
        if rules.resample_cards:
            cards = torch.rand(cards.shape, generator=draw)
        return deal(layout.to(device), cards.to(device)), rules


# ---- playing --------------------------------------------------------------------------------


class GreedyPlayer:
    """Takes the most likely action of a policy, whose state it keeps from flip to flip.

    Args:
        watch: called with every state after an observation, to look into the memory.
    """

    def __init__(self, policy: Policy, watch: Callable[[Any], None] | None = None) -> None:
        self.policy, self.watch = policy, watch
        self.state: Any = None

    @torch.no_grad()
    def __call__(self, observation: Tensor, games: Games) -> Tensor:
        if self.state is None:
            self.state = self.policy.start(len(observation))
        logits, _, self.state = self.policy(observation, self.state)
        if self.watch is not None:
            self.watch(self.state)
        return logits.argmax(1)


def evaluate(task: ConcentrationTask, policy: Policy) -> dict[str, Any]:
    """Flips of the test games: their mean, standard deviation, and how many were given up.

    A game that was given up counts with ``max_flips``.
    """
    games, rules = task.test_games(policy.deck.device)
    flips, won = flips_of_games(GreedyPlayer(policy), games, rules)
    check_noted()
    values = flips.double()
    return {
        "flips": values.mean().item(),
        "spread": values.std(unbiased=False).item(),
        "games": len(flips),
        "given_up": int((~won).sum()),
        "flips_of_games": flips.tolist(),
    }


# ---- training -------------------------------------------------------------------------------


def run_summary(task: ConcentrationTask) -> dict[str, Any]:
    """What must not change when a training goes on."""
    settings = to_dict(task.settings)
    return {**settings, "seed": task.seed, "data": {"task": task.name}}


def new_state(task: ConcentrationTask, device: torch.device, start_update: int = 0) -> dict:
    """The state of a training that begins: games dealt, nothing learned."""
    games = _games(task, device, "deal")
    return {
        "run": run_summary(task),
        "epoch": start_update,
        "seconds": 0.0,
        "curve": [],
        "best": {},
        "network": None,
        "optimizer": None,
        "games": list(games.games),
        "observation": games.reset(),
        "recurrent": None,
    }


def _games(task: ConcentrationTask, device: torch.device, *stream: str | int) -> ConcentrationBatch:
    random = generator(task.settings.game.env_seed, *stream, device=device)
    return ConcentrationBatch(task.settings.training.num_envs, task.rules, task.deck, random)


def train(
    task: ConcentrationTask,
    device: torch.device,
    state: dict[str, Any],
    files: RunFiles,
    backend: str = "auto",
    save_every: int = 50,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Train from a state to the end.

    Args:
        state: new, or as it was read from ``files.state``.
        files: where state and log are written every ``save_every`` updates. The log's epochs are
            updates; its numbers are means over the updates since the line before.
        report: called with every line of the log.

    Returns:
        the state, whose ``best`` holds the tensors of the last policy and its test.
    """
    training = task.settings.training
    policy = task.build(generator(task.seed, "start"), backend).to(device)
    optimizer = torch.optim.Adam(policy.parameters(), training.learning_rate, eps=training.adam_eps)
    if state["network"] is not None:
        restore(files.state, state, network=policy, optimizer=optimizer)
    log = MetricLog(files.log)
    for line in state["curve"]:
        log.write(**line)
    bar = progress(total=training.updates, initial=state["epoch"], unit="update")
    carried = _Carried.of(task, policy, state, device)
    lines, began = [], time.perf_counter()
    while state["epoch"] < training.updates:
        rate = training.learning_rate_of(state["epoch"])
        optimizer.param_groups[0]["lr"] = rate
        lines.append(carried.update(policy, optimizer, state["epoch"]))
        state["epoch"] += 1
        bar.update()
        if state["epoch"] % save_every and state["epoch"] < training.updates:
            continue
        seconds = time.perf_counter() - began
        line = {"epoch": state["epoch"], **_summary(lines, training, seconds, rate)}
        check_finite(line["value_loss"], "the value loss")
        state["seconds"] += seconds
        state["curve"].append(line)
        state |= {"network": policy.state_dict(), "optimizer": optimizer.state_dict()}
        state |= carried.saved()
        state["best"] = {"epoch": state["epoch"], "tensors": _copies(policy)}
        save_training_state(files.state, state)
        log.write(**line)
        if report is not None:
            report(line)
        lines, began = [], time.perf_counter()
    bar.close()
    state["best"]["test"] = evaluate(task, policy)
    return state


def _copies(policy: Policy) -> dict[str, Tensor]:
    return {name: x.detach().cpu().clone() for name, x in policy.state_dict().items()}


class _Carried:
    """Games, observation and recurrent state, which go on from update to update."""

    def __init__(self, task: ConcentrationTask, games: ConcentrationBatch) -> None:
        self.task, self.games = task, games
        self.observation: Tensor = games.reset()
        self.state: Any = None

    @classmethod
    def of(
        cls, task: ConcentrationTask, policy: Policy, state: dict[str, Any], device: torch.device
    ) -> _Carried:
        """As they stand in the state of a training."""
        carried = cls(task, _games(task, device, "deal"))
        carried.games.games = Games(*(x.to(device) for x in state["games"]))
        carried.observation = state["observation"].to(device)
        carried.state = policy.start(task.settings.training.num_envs)
        if state["recurrent"] is not None:
            parts = iter(state["recurrent"])
            carried.state = map_state(lambda _: next(parts).to(device), carried.state)
        return carried

    def saved(self) -> dict[str, Any]:
        """For the state of a training."""
        parts: list[Tensor] = []
        map_state(lambda x: parts.append(x) or x, self.state)
        return {
            "games": list(self.games.games),
            "observation": self.observation,
            "recurrent": parts,
        }

    def update(
        self, policy: Policy, optimizer: torch.optim.Optimizer, number: int
    ) -> dict[str, float]:
        """Play a rollout and learn from it. Its random numbers are a function of (seed, number)."""
        task, settings = self.task, self.task.settings.training
        device = self.observation.device
        # Deals of a rollout are a function of its number, too.
        self.games.random = generator(task.settings.game.env_seed, "deals", number, device=device)
        draw = generator(task.seed, "actions", number, device=device)
        rollout, self.observation, self.state = play(
            policy, self.games, self.observation, self.state, settings.num_steps, draw
        )
        found = improve(policy, optimizer, rollout, settings, generator(task.seed, "order", number))
        check_noted()
        return found | _played(rollout)


def _played(rollout: Rollout) -> dict[str, float]:
    """Games that ended in a rollout, their flips in all, and the mean reward of an action."""
    return {
        "games": float(rollout.ended.sum()),
        "flips": float((rollout.flips * rollout.ended).sum()),
        "reward": rollout.rewards.mean().item(),
    }


def _summary(
    lines: list[dict[str, float]], training: PPOSettings, seconds: float, rate: float
) -> dict[str, float]:
    """One line of the log from those of several updates."""
    games = sum(line["games"] for line in lines)
    flips = sum(line["flips"] for line in lines)
    means = {
        name: sum(line[name] for line in lines) / len(lines)
        for name in lines[0]
        if name not in ("games", "flips")
    }
    steps = len(lines) * training.steps_of_update
    return {
        "flips": flips / games if games else float(training.num_steps),
        "games": games,
        **means,
        "learning_rate": rate,
        "steps_per_second": steps / seconds,
        "seconds": seconds,
    }
