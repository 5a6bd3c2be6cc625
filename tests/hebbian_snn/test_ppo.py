"""The learning rule: returns, losses, and rollouts that are run again."""

import math

import pytest
import torch

from common.training import generator
from hebbian_snn.config import task_settings
from hebbian_snn.environments.concentration_batch import ConcentrationBatch
from hebbian_snn.kernels import lif_scan, read_memory, write_memory
from hebbian_snn.reinforcement.policy import LAST, begin_anew, head
from hebbian_snn.reinforcement.ppo import discounted_returns, improve, play, ppo_losses
from hebbian_snn.reinforcement.task import ConcentrationTask, ReinforcementSettings

SMALL = {
    "game": {"num_cells": 2, "card_shape": 3, "num_time_steps": 8},
    "network": {"embedding_size": 7, "memory_size": 6, "thr": 0.03},
    "heads": {"hidden_size": 5},
    "training": {"num_envs": 6, "num_steps": 9, "ppo_batches": 3, "ppo_epochs": 2},
    "evaluation": {"evaluation_games": 20, "max_flips": 12},
}


def small_task(relu=False, **sections):
    overrides = {key: {**value, **sections.get(key, {})} for key, value in SMALL.items()}
    settings = task_settings(ReinforcementSettings, "reinforcement_learning", relu, overrides)
    return ConcentrationTask(settings, 0)


def lively(task, backend="auto"):
    """A policy in double precision whose actions depend on what it recalls."""
    policy = task.build(generator(1, "start"), backend).double()
    with torch.no_grad():
        policy.actor[-1].weight *= 50
    return policy


def played(task, policy, steps=9):
    training = task.settings.training
    deck = policy.deck.double()
    games = ConcentrationBatch(training.num_envs, task.rules, deck, generator(2, "deals"))
    state = policy.start(training.num_envs)
    return play(policy, games, games.reset(), state, steps, generator(3, "actions"))


# ---- returns and losses ---------------------------------------------------------------------


def test_returns_are_discounted_and_cut_where_a_game_ended():
    rewards = torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    ended = torch.tensor([[False, False], [False, True], [False, False]])
    last = torch.tensor([8.0, 16.0])
    found = discounted_returns(rewards, ended, last, 0.5)
    assert found.tolist() == [[1 + 1 + 1 + 1, 1 + 1], [2 + 2 + 2, 2], [4 + 4, 4 + 8]]


def test_losses_by_hand():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]))
    values = torch.tensor([1.0, 3.0, 0.0])
    actions = torch.tensor([0, 0, 1])
    old = torch.log(torch.tensor([0.5, 0.6, 0.8]))
    old_values = torch.tensor([0.0, 3.0, 0.1])
    advantages, returns = torch.tensor([1.0, 2.0, -1.0]), torch.tensor([2.0, 3.0, 0.0])
    found = ppo_losses(logits, values, actions, old, old_values, advantages, returns, 0.2)
    # Ratios 1, 1.5 (clipped to 1.2), 1; values 0.2 near the old one, which is further away.
    assert found.policy.item() == pytest.approx(-(1 + 1.2 * 2 - 1) / 3)
    assert found.value.item() == pytest.approx((1.8**2 + 0 + 0) / 2 / 3)
    entropy = [-sum(p * math.log(p) for p in row) for row in ([0.5, 0.5], [0.9, 0.1], [0.2, 0.8])]
    assert found.entropy.item() == pytest.approx(sum(entropy) / 3, rel=1e-5)
    assert found.clipped.item() == pytest.approx(1 / 3)


def test_a_ratio_that_has_gone_far_enough_gets_no_gradient():
    def gradient(probability, advantage):
        logits = torch.log(torch.tensor([[probability, 1 - probability]])).requires_grad_()
        old = torch.log(torch.tensor([0.5]))
        zero = torch.zeros(1)
        ppo_losses(
            logits, zero, torch.tensor([0]), old, zero, torch.tensor([advantage]), zero, 0.2
        ).policy.backward()
        return logits.grad.abs().max().item()

    assert gradient(0.7, 1.0) == 0 < gradient(0.55, 1.0)
    assert gradient(0.3, -1.0) == 0 < gradient(0.3, 1.0)


def test_heads_are_orthogonal():
    net = head(4, 6, 3, 0.01, generator(0, "x"))
    first, last = net[0].weight, net[-1].weight
    torch.testing.assert_close(first.T @ first, 2 * torch.eye(4))
    torch.testing.assert_close(last @ last.T, 1e-4 * torch.eye(3))
    assert not any(layer.bias.any() for layer in (net[0], net[2], net[4]))
    assert [type(layer).__name__ for layer in net] == ["Linear", "Tanh"] * 2 + ["Linear"]


# ---- policies -------------------------------------------------------------------------------


def test_the_spiking_policy_is_the_specified_one():
    """Written first, then read with the same spikes and the new memory; all states carry on."""
    task = small_task(game={"num_time_steps": 40})
    policy = lively(task)
    network = task.settings.network
    neuron, weights = network.neuron, dict(policy.named_parameters())
    observations = torch.rand(3, 4, task.rules.observation_size, generator=generator(0, "o"))
    observations = observations.double()
    state, encoding, writing, reading, mem = policy.start(4), None, None, None, None
    for observation in observations:
        current = 7 * observation @ weights["recall.embedding.weight"].T
        spikes, encoding = lif_scan(
            current[:, None], neuron, num_time_steps=40, state=encoding, backend="reference"
        )
        key, value = (spikes @ weights["recall.write.weight"].T).chunk(2, -1)
        written = write_memory(
            key,
            value,
            neuron=neuron,
            plasticity=network.plasticity,
            tau_trace=20.0,
            mem=mem,
            state=writing,
            backend="reference",
        )
        mem, writing = written.mem, written.state
        ask = weights["recall.read.weight"]
        read = read_memory(
            spikes @ ask[:, :7].T,
            ask[:, 7:],
            mem,
            neuron=neuron,
            state=reading,
            backend="reference",
        )
        reading = read.state
        recalled = read.value_spikes[:, -LAST:].sum(1)
        logits, value, state = policy(observation, state)
        torch.testing.assert_close(logits, policy.actor(recalled))
        both = torch.cat([observation, recalled], 1)
        torch.testing.assert_close(value, policy.critic(both)[:, 0])
    torch.testing.assert_close(state.mem, mem)
    assert recalled.any() and mem.any()


@pytest.mark.parametrize("relu", [False, True])
def test_a_rollout_run_again_is_the_one_that_was_played(relu):
    """With games that end in the middle, for some of the games, and from a state that is not the
    start."""
    task = small_task(relu)
    policy = lively(task)
    rollout, _, _ = played(task, policy)
    assert rollout.ended[:-1].any()
    rows = torch.tensor([4, 1, 2])
    state = rollout.state
    state = state[rows] if relu else type(state)(*_rows(state, rows))
    logits, values = policy.replay(rollout.observations[:, rows], rollout.ended[:, rows], state)
    torch.testing.assert_close(values, rollout.values[:, rows])
    chosen = logits.log_softmax(-1).gather(-1, rollout.actions[:, rows, None])[..., 0]
    torch.testing.assert_close(chosen, rollout.log_probabilities[:, rows])
    assert logits.flatten(0, 1).unique(dim=0).shape[0] > 3


def _rows(state, rows):
    return [x[rows] if torch.is_tensor(x) else type(x)(*_rows(x, rows)) for x in state]


def test_gradients_of_compiled_and_plain_loops_agree():
    task = small_task()
    found = []
    for backend in ("reference", "cpu"):
        policy = lively(task, backend)
        rollout, _, _ = played(task, policy, 4)
        logits, values = policy.replay(rollout.observations, rollout.ended, rollout.state)
        losses = ppo_losses(
            logits,
            values,
            rollout.actions,
            rollout.log_probabilities - 0.05,
            rollout.values,
            rollout.rewards,
            rollout.rewards,
            0.2,
        )
        (losses.policy + losses.value - 0.1 * losses.entropy).backward()
        found.append([p.grad for p in policy.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    names = [name for name, _ in policy.named_parameters()]
    assert found[0][names.index("recall.write.weight")].abs().max() > 0


def test_games_that_begin_anew_have_the_state_of_a_start():
    task = small_task()
    policy = lively(task)
    _, _, state = played(task, policy)
    ended = torch.tensor([True, False, False, True, False, False])
    fresh, start = begin_anew(state, ended), policy.start(6)
    for new, old, zero in zip(_flat(fresh), _flat(state), _flat(start), strict=True):
        assert new.dtype == zero.dtype
        assert torch.equal(new[ended], zero[ended]) and torch.equal(new[~ended], old[~ended])
    assert state.mem[ended].any()


def _flat(state):
    return [state] if torch.is_tensor(state) else [x for part in state for x in _flat(part)]


def test_a_pass_makes_good_actions_more_likely():
    task = small_task(training={"ppo_batches": 1, "ppo_epochs": 3})
    policy = lively(task)
    rollout, _, _ = played(task, policy)
    settings = task.settings.training
    optimizer = torch.optim.Adam(policy.parameters(), 1e-3)
    before = rollout.log_probabilities
    found = improve(policy, optimizer, rollout, settings, generator(0, "order"))
    logits, _ = policy.replay(rollout.observations, rollout.ended, rollout.state)
    after = logits.log_softmax(-1).gather(-1, rollout.actions[..., None])[..., 0].detach()
    returns = discounted_returns(rollout.rewards, rollout.ended, rollout.last_value, 0.99)
    advantages = returns - rollout.values
    advantages = (advantages - advantages.mean()) / advantages.std()
    assert ((after - before) * advantages).mean() > 0
    assert all(math.isfinite(value) for value in found.values()) and found["gradient_norm"] > 0
