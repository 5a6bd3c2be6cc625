"""The equations for one sample, in plain Python: lists of numbers, loops over neurons."""

import math


class DirectNeuron:
    """One neuron of ``hebbian_snn.neurons``, from a given v, z, r."""

    def __init__(self, p, v=0.0, z=0.0, r=0):
        self.p, self.v, self.z, self.r = p, v, z, r
        leaky = hasattr(p, "tau_mem")
        self.alpha = math.exp(-1 / p.tau_mem) if leaky else 1.0
        self.beta = 1 - self.alpha if leaky else 1.0

    def step(self, current):
        if self.p.perfect_reset:
            self.v = self.alpha * self.v * (1 - self.z) + self.beta * current
        else:
            self.v = self.alpha * self.v + self.beta * current - self.z * self.p.thr
        above = (self.v - self.p.thr) / self.p.thr > 0
        self.z = 1.0 if above and self.r == 0 else 0.0
        if self.r > 0:
            self.r -= 1
        else:
            self.r = int(self.p.refractory_time_steps * self.z)
        return self.z


def direct_neurons(state, sample, p):
    """The neurons of one sample of a ``LIFState``."""
    rows = zip(*(x[sample].tolist() for x in state), strict=True)
    return [DirectNeuron(p, v, z, r) for v, z, r in rows]


def direct_scan(currents, state, sample, p, steps):
    """Spikes [t][i] and neurons of one sample; currents [item][i]."""
    neurons = direct_neurons(state, sample, p)
    spikes = [
        [n.step(c) for n, c in zip(neurons, current, strict=True)]
        for current in currents
        for _ in range(steps)
    ]
    return spikes, neurons


def direct_write(key_currents, value_currents, mem, state, sample, p, rule, tau, feedback):
    """Memory, spikes and traces of one sample after all steps; everything is a list."""
    keys, values = (direct_neurons(s, sample, p) for s in (state.key, state.value))
    key_trace, value_trace = state.key_trace[sample].tolist(), state.value_trace[sample].tolist()
    decay = math.exp(-1 / tau)
    n = len(keys)
    key_spikes, value_spikes = [], []
    for key_current, value_current in zip(key_currents, value_currents, strict=True):
        z_key = [keys[j].step(key_current[j]) for j in range(n)]
        z_value = [
            values[i].step(
                value_current[i] + feedback * sum(mem[i][j] * z_key[j] for j in range(n))
            )
            for i in range(n)
        ]
        for trace, z in ((key_trace, z_key), (value_trace, z_value)):
            for i in range(n):
                trace[i] = (1 - decay) * z[i] + decay * trace[i]
        for i in range(n):
            for j in range(n):
                mem[i][j] += (
                    rule.gamma_pos * (rule.w_max - mem[i][j]) * value_trace[i] * key_trace[j]
                    - rule.gamma_neg * key_trace[j] ** 2 * mem[i][j]
                )
        key_spikes.append(z_key)
        value_spikes.append(z_value)
    return mem, key_spikes, value_spikes, key_trace, value_trace


def direct_read(currents, weight, mem, state, sample, p, delay):
    """Spikes of keys and values of one sample."""
    keys, values = (direct_neurons(s, sample, p) for s in (state.key, state.value))
    buffer = state.delayed[sample].tolist()
    n = len(keys)
    key_spikes, value_spikes = [], []
    for current in currents:
        heard = buffer.pop(0)
        z_key = [
            keys[j].step(current[j] + sum(weight[j][i] * heard[i] for i in range(n)))
            for j in range(n)
        ]
        z_value = [values[i].step(sum(mem[i][j] * z_key[j] for j in range(n))) for i in range(n)]
        buffer.append(z_value)
        assert len(buffer) == delay
        key_spikes.append(z_key)
        value_spikes.append(z_value)
    return key_spikes, value_spikes
