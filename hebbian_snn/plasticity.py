"""How the synapses from key to value neurons change during a trial."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class InvertedOja(NamedTuple):
    """The Hebbian rule of the memory.

    Attributes:
        w_max: where Hebbian growth ends, in units of the weight.
        gamma_pos: rate of growth, per step. gamma_neg: rate of decay, per step.
    """

    w_max: float = 1.0
    gamma_pos: float = 0.3
    gamma_neg: float = 0.3


def update_memory(mem: Tensor, value_trace: Tensor, key_trace: Tensor, rule: InvertedOja) -> Tensor:
    """The memory after one step.

    mem[i, j] <- mem[i, j] + gamma_pos (w_max - mem[i, j]) value[i] key[j]
                 - gamma_neg key[j]^2 mem[i, j]

    Args:
        mem: (B, M, M), from key j to value i. value_trace, key_trace: (B, M), after the step.
        rule: the constants.
    """
    value, key = value_trace[:, :, None], key_trace[:, None, :]
    growth = rule.gamma_pos * (rule.w_max - mem) * value * key
    return mem + growth - rule.gamma_neg * key**2 * mem
