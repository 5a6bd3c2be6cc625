"""Proximal policy optimisation for a policy with a state.

Games are played side by side for a few steps, a rollout; then the policy is changed in several
passes over it. A minibatch is some of the games: their whole rollout is run again, from the state
in which it began, with gradients through all of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from common.settings import option
from common.training import check_finite
from hebbian_snn.environments.concentration_batch import ConcentrationBatch
from hebbian_snn.neurons import map_state
from hebbian_snn.reinforcement.policy import Policy, begin_anew


@dataclass(frozen=True)
class PPOSettings:
    """Optimisation; none of it changes network or game."""

    num_envs: int = option("games that are played side by side", minimum=1)
    num_env_steps: int = option("actions in all games together", minimum=1)
    num_steps: int = option("actions of a rollout in each game", minimum=1)
    learning_rate: float = option("step size of Adam", minimum=0)
    decay_lr_linearly: bool = option("the learning rate falls to 0 in the course of training")
    adam_eps: float = option("epsilon of Adam", minimum=0)
    max_grad_norm: float = option(
        "longer gradients are shortened to this norm; 0 or less: none are"
    )
    discount_factor: float = option("discount of a reward one step later", minimum=0, maximum=1)
    ppo_clip_param: float = option("clipping of ratio and value", minimum=0)
    ppo_epochs: int = option("passes over a rollout", minimum=1)
    ppo_batches: int = option("minibatches of a pass", minimum=1)
    value_coefficient: float = option("weight of the value loss", minimum=0)
    entropy_coefficient: float = option("weight of the entropy", minimum=0)
    learning_rate_decay: float = option("factor of the rate at every decay", default=1.0, minimum=0)
    decay_learning_rate_every: int = option(
        "updates from one decay to the next", default=2000, minimum=1
    )

    def __post_init__(self) -> None:
        if self.ppo_batches > self.num_envs:
            raise ValueError(
                f"ppo_batches is {self.ppo_batches} and num_envs {self.num_envs}; a minibatch "
                "needs at least one game"
            )

    @property
    def steps_of_update(self) -> int:
        """Actions between two changes of the policy."""
        return self.num_envs * self.num_steps

    @property
    def updates(self) -> int:
        """Changes of the policy in a training."""
        return max(1, self.num_env_steps // self.steps_of_update)

    def learning_rate_of(self, update: int) -> float:
        """The rate of an update, counted from 0."""
        left = 1 - update / self.updates if self.decay_lr_linearly else 1.0
        decays = update // self.decay_learning_rate_every
        return self.learning_rate * self.learning_rate_decay**decays * left


class Rollout(NamedTuple):
    """What was played.

    Attributes:
        observations: (T, B, D). actions: (T, B). rewards: (T, B).
        ended: (T, B) bool, the game ended with this action.
        log_probabilities: (T, B), of the actions. values: (T, B), of the observations.
        flips: (T, B), actions of the game so far.
        last_value: (B,), of the observation after the last action.
        state: of the policy before the first observation.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    ended: Tensor
    log_probabilities: Tensor
    values: Tensor
    flips: Tensor
    last_value: Tensor
    state: Any


@torch.no_grad()
def play(
    policy: Policy,
    games: ConcentrationBatch,
    observation: Tensor,
    state: Any,
    num_steps: int,
    random: Generator,
) -> tuple[Rollout, Tensor, Any]:
    """Play a rollout with actions drawn from the policy.

    Args:
        observation: (B, D), of the games as they stand. state: of the policy before it.
        random: of the actions.

    Returns:
        the rollout, and observation and state to go on with.

    Raises :class:`UserError` for a policy that has diverged.
    """
    start, steps = state, []
    for _ in range(num_steps):
        logits, value, state = policy(observation, state)
        check_finite(logits.abs().max().item(), "the policy's output")
        log_probabilities = logits.log_softmax(1)
        action = torch.multinomial(log_probabilities.exp(), 1, generator=random)
        turn = games.step(action[:, 0])
        log_probability = log_probabilities.gather(1, action)[:, 0]
        steps.append(
            (
                observation,
                action[:, 0],
                turn.reward,
                turn.ended,
                log_probability,
                value,
                turn.flips,
            )
        )
        state = begin_anew(state, turn.ended)
        observation = turn.observation
    last_value = policy(observation, state)[1]
    stacked = (torch.stack(part) for part in zip(*steps, strict=True))
    return Rollout(*stacked, last_value, start), observation, state


def discounted_returns(
    rewards: Tensor, ended: Tensor, last_value: Tensor, discount: float
) -> Tensor:
    """R[t] = reward[t] + discount R[t + 1], cut where a game ended; (T, B).

    After the last step ``last_value`` (B,) stands in place of R.
    """
    returns = torch.empty_like(rewards)
    following = last_value
    for step in range(len(rewards) - 1, -1, -1):
        following = rewards[step] + discount * following * ~ended[step]
        returns[step] = following
    return returns


class Losses(NamedTuple):
    """The parts of the loss of a minibatch, and the share of ratios that were clipped."""

    policy: Tensor
    value: Tensor
    entropy: Tensor
    clipped: Tensor


def ppo_losses(
    logits: Tensor,
    values: Tensor,
    actions: Tensor,
    old_log_probabilities: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    clip: float,
) -> Losses:
    """The clipped surrogate of the policy, the clipped value loss and the entropy.

    policy = -mean min(ratio A, clip(ratio, 1 - c, 1 + c) A);
    value = mean 1/2 max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2).

    Args:
        logits: (..., actions). All others: (...); the old ones are those of the rollout.
    """
    log_probabilities = logits.log_softmax(-1)
    chosen = log_probabilities.gather(-1, actions[..., None])[..., 0]
    ratio = (chosen - old_log_probabilities).exp()
    surrogate = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    near = old_values + (values - old_values).clamp(-clip, clip)
    squares = torch.maximum((values - returns).square(), (near - returns).square())
    entropy = -(log_probabilities.exp() * log_probabilities).sum(-1)
    clipped = ((ratio - 1).abs() > clip).to(ratio.dtype)
    return Losses(-surrogate.mean(), squares.mean() / 2, entropy.mean(), clipped.mean())


def improve(
    policy: Policy,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    settings: PPOSettings,
    random: Generator,
) -> dict[str, float]:
    """Change the policy in ``ppo_epochs`` passes over a rollout; returns means over minibatches.

    ``random``, on the CPU, is of the order of the games.
    """
    returns = discounted_returns(
        rollout.rewards, rollout.ended, rollout.last_value, settings.discount_factor
    )
    advantages = returns - rollout.values
    spread = advantages.std(unbiased=advantages.numel() > 1)  # 0 for a single action
    advantages = (advantages - advantages.mean()) / (spread + 1e-5)
    longest = settings.max_grad_norm if settings.max_grad_norm > 0 else torch.inf
    found = []
    for _ in range(settings.ppo_epochs):
        order = torch.randperm(rollout.actions.shape[1], generator=random)
        for rows in order.to(returns.device).tensor_split(settings.ppo_batches):
            part = [
                x[:, rows]
                for x in (
                    rollout.actions,
                    rollout.log_probabilities,
                    rollout.values,
                    advantages,
                    returns,
                )
            ]
            state = map_state(lambda x, rows=rows: x[rows], rollout.state)
            logits, values = policy.replay(
                rollout.observations[:, rows], rollout.ended[:, rows], state
            )
            losses = ppo_losses(logits, values, *part, settings.ppo_clip_param)
            loss = (
                losses.policy
                + settings.value_coefficient * losses.value
                - settings.entropy_coefficient * losses.entropy
            )
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(policy.parameters(), longest)
            optimizer.step()
            found.append(torch.stack([*losses, norm]).detach())
    names = ("policy_loss", "value_loss", "entropy", "clipped", "gradient_norm")
    return dict(zip(names, torch.stack(found).mean(0).tolist(), strict=True))
