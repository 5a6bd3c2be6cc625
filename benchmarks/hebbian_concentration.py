"""Hebbian memory: actions a second while a policy for Concentration is trained by PPO.

python -m benchmarks.hebbian_concentration [--num_envs 64] [--num_time_steps 100] [--repeats 3]
    [--threads 2] [--whole] [--json FILE]

One side plays all games as tensors and trains with the compiled kernels. The other one plays them
in subprocesses, one for each game (Gymnasium's AsyncVectorEnv), and its network is the plain
PyTorch loop. Both do the same update: a rollout of 10 actions in each game, then 4 passes of 16
minibatches over it. Of the plain side one action in every game and one minibatch are timed, and
counted as often as an update has them; ``--whole`` times its whole update (minutes).
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from benchmarks.command import Comparison, benchmark_parser, read_options, report
from common.errors import command_line
from common.memory import keep_freed_memory
from common.training import generator
from hebbian_snn.config import task_settings
from hebbian_snn.environments.concentration import ConcentrationEnv
from hebbian_snn.environments.concentration_batch import ConcentrationBatch, Turn
from hebbian_snn.neurons import map_state
from hebbian_snn.reinforcement.ppo import Rollout, improve, play
from hebbian_snn.reinforcement.task import ConcentrationTask, ReinforcementSettings

SEED = 0


class Subprocesses:
    """Games in processes of their own, used like ``ConcentrationBatch``."""

    def __init__(self, task: ConcentrationTask) -> None:
        rules = task.rules
        make = functools.partial(
            ConcentrationEnv, rules.num_cells, rules.card_size, task.deck.numpy()
        )
        self.games = gymnasium.vector.AsyncVectorEnv(
            [make] * task.settings.training.num_envs,
            autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        )

    def reset(self) -> Tensor:
        """The (B, D) first observations."""
        return torch.from_numpy(self.games.reset(seed=SEED)[0])

    def step(self, actions: Tensor) -> Turn:
        """Flip one card (B,) in each game."""
        shown, rewards, terminated, truncated, _ = self.games.step(actions.numpy())
        return Turn(
            torch.from_numpy(shown.copy()),
            torch.from_numpy(np.asarray(rewards, np.float32)),
            torch.from_numpy(terminated.copy()),
            torch.from_numpy(truncated.copy()),
            torch.zeros(len(rewards), dtype=torch.int64),
        )


class Side:
    """A policy in training.

    Args:
        task: with settings. games: that it plays. backend: of its kernels.
    """

    def __init__(self, task: ConcentrationTask, games: Any, backend: str) -> None:
        self.settings, self.games = task.settings.training, games
        self.policy = task.build(generator(SEED, "start"), backend)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), 3e-4, eps=1e-5)
        self.observation: Tensor = games.reset()
        self.state = self.policy.start(self.settings.num_envs)

    def rollout(self, steps: int) -> Rollout:
        """Play on."""
        draw = generator(SEED, "actions")
        rollout, self.observation, self.state = play(
            self.policy, self.games, self.observation, self.state, steps, draw
        )
        return rollout

    def update(self) -> None:
        """A rollout and all passes over it."""
        rollout = self.rollout(self.settings.num_steps)
        improve(self.policy, self.optimizer, rollout, self.settings, generator(SEED, "order"))

    def minibatch(self, rollout: Rollout) -> None:
        """One minibatch of one pass, with so many games as in an update."""
        size = -(-self.settings.num_envs // self.settings.ppo_batches)
        state = map_state(lambda x: x[:size], rollout.state)
        last = rollout.last_value[:size]
        part = Rollout(*(x[:, :size] for x in rollout[:-2]), last, state)
        once = replace(self.settings, ppo_epochs=1, ppo_batches=1)
        improve(self.policy, self.optimizer, part, once, generator(SEED, "order"))


def seconds(function: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(num_envs: int, num_time_steps: int, repeats: int, whole: bool) -> Comparison:
    """Actions a second of both sides."""
    keep_freed_memory()  # as training does
    sections = {
        "game": {"num_time_steps": num_time_steps},
        "training": {"num_envs": num_envs, "ppo_batches": min(16, num_envs)},
    }
    settings = task_settings(ReinforcementSettings, "reinforcement_learning", False, sections)
    task = ConcentrationTask(settings, SEED)
    training = settings.training
    batch = ConcentrationBatch(num_envs, task.rules, task.deck, generator(SEED, "deals"))
    fast, plain = Side(task, batch, "auto"), Side(task, Subprocesses(task), "reference")
    fast.update()  # compiles
    own = statistics.median(seconds(fast.update) for _ in range(repeats))
    if whole:
        direct = seconds(plain.update)
    else:
        # play() looks at one observation more than it has actions.
        action = statistics.median(seconds(lambda: plain.rollout(1)) / 2 for _ in range(repeats))
        played = fast.rollout(training.num_steps)
        minibatch = seconds(lambda: plain.minibatch(played))
        count = training.ppo_epochs * training.ppo_batches
        direct = action * (training.num_steps + 1) + minibatch * count
    plain.games.games.close()
    actions = training.steps_of_update
    text = (
        f"{num_envs} games, {num_time_steps} steps an observation: "
        f"{actions / own:.0f} actions a second; plain loop with {num_envs} subprocesses "
        f"{actions / direct:.2f}{'' if whole else ' (from one action and one minibatch)'}; "
        f"{direct / own:.0f} times faster"
    )
    what = (
        f"Hebbian memory, an update of PPO for Concentration: {num_envs} games, {num_time_steps} "
        "steps an observation"
    )
    note = "" if whole else "the direct side is reckoned from one action and one minibatch"
    return Comparison(what, text, own, direct, repeats, note=note)


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--num_envs", type=int, default=64, help="games (default 64)")
    parser.add_argument("--num_time_steps", type=int, default=100, help="ms (default 100)")
    parser.add_argument("--whole", action="store_true", help="time the plain side's whole update")
    options = read_options(parser, argv)
    sizes = (options.num_envs, options.num_time_steps, options.repeats, options.whole)
    report([compare(*sizes)], options)


if __name__ == "__main__":
    raise SystemExit(main())
