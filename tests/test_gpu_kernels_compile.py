"""Every Triton kernel becomes machine code for GPUs that are not there.

The wrappers are called with CPU tensors; instead of being started a kernel is compiled, with just
the constants and specialisations of that call, for compute capability 8.0 and 9.0 (A100, H100).
Registers and spills are bounded. A representative part takes seconds; ``SNN_ALL_TESTS=1`` compiles
all variants that the wrappers can ask for.
"""

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from functools import partial

import pytest

from common.paths import ROOT

ALL = os.environ.get("SNN_ALL_TESTS") == "1"
MOST_SPILLED = 32
"""Bytes that a thread may store for want of registers: a few numbers."""

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton"),
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") == "1", reason="the interpreter does not compile"
    ),
]


@pytest.mark.parametrize("package", ["hebbian_snn", "gust", "snn_tha"])
@pytest.mark.parametrize("capability", [80, 90])
def test_every_kernel_compiles(capability, package, tmp_path):
    if not ALL and (capability, package) in ((80, "gust"), (90, "snn_tha")):
        pytest.skip("SNN_ALL_TESTS=1 compiles it for this GPU, too")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, __file__, str(capability), package],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {row["kernel"] for row in found} == KERNELS[package]
    for row in found:
        assert row["registers"] <= 255 and row["spilled"] <= MOST_SPILLED, row
    if package == "hebbian_snn":
        # Two threads hold a neuron: all have loaded what one of them overwrites.
        barriers = [row["barriers"] for row in found if row["kernel"] == "_read_back"]
        assert min(barriers) >= 5


KERNELS = {
    "hebbian_snn": {
        "_scan",
        "_scan_back",
        "_write_rows",
        "_rows_back",
        "_keys_back",
        "_read",
        "_read_back",
    },
    "gust": {"_forward", "_backward"},
    "snn_tha": {"_forward", "_backward"},
}


# ---- in a process of its own ------------------------------------------------------------------


def compile_instead_of_starting(capability):
    """Replace the starts of kernels; returns the list that the compiled ones are added to."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.runtime.jit import JITFunction

    class NoDriver:
        get_current_target = staticmethod(lambda: GPUTarget("cuda", capability, 32))
        get_current_device = staticmethod(lambda: 0)
        get_current_stream = staticmethod(lambda device: 0)

    found, original = {}, JITFunction.run

    def only_compile(self, *arguments, warmup, **options):
        compiled = original(self, *arguments, warmup=True, **options)
        if compiled.hash not in found:
            name, barriers = self.fn.__name__, compiled.asm["ttgir"].count("barrier")
            found[compiled.hash] = {"kernel": name, "barriers": barriers, **resources(compiled)}

    triton.runtime.driver.set_active(NoDriver())
    JITFunction.run = only_compile
    return found


def resources(compiled):
    """Registers and bytes spilled of a thread, as the machine code says."""
    import tempfile

    import triton

    tool = os.path.join(os.path.dirname(triton.__file__), "backends/nvidia/bin/cuobjdump")
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        said = subprocess.run(
            [tool, "-res-usage", file.name], capture_output=True, text=True
        ).stdout
    registers, stack = re.search(r"REG:(\d+)", said), re.search(r"STACK:(\d+)", said)
    return {"registers": int(registers[1]), "spilled": int(stack[1])}


def compile_hebbian():
    """Sizes: a single neuron, odd, powers of two, the paper's 100, its neighbours."""
    import torch

    sys.path.insert(0, str(ROOT / "tests/hebbian_snn"))
    from hebbian_examples import (
        NEURONS,
        RULE,
        flat,
        gradients,
        read_inputs,
        scan_inputs,
        write_inputs,
    )

    from hebbian_snn.kernels.reading.cuda import read_memory
    from hebbian_snn.kernels.scan.cuda import lif_scan
    from hebbian_snn.kernels.writing.cuda import write_memory
    from hebbian_snn.neurons import IFParameters, LIFParameters

    def scan_once(neuron, steps, x):
        return lif_scan(x[0], neuron, steps, x[1])

    def write_once(neuron, x):
        return write_memory(*x, neuron, RULE, 15.0, 0.2)

    def read_once(neuron, delay, x):
        return read_memory(*x, neuron, delay)

    leaks, resets = LIFParameters(), NEURONS["perfect reset"]
    single, double = torch.float32, torch.float64
    # neuron, type of number, M, batch, steps, delay
    cases = [
        (leaks, single, 100, 3, 70, 30),
        (resets, double, 100, 2, 5, 1),
        (leaks, double, 128, 2, 70, 2),
        (LIFParameters(refractory_time_steps=1), single, 1, 1, 1, 1),
    ]
    if ALL:
        sizes = (1, 9, 16, 37, 60, 64, 100, 128, 200, 256, 300, 512)
        cases = [
            (neuron, dtype, n, batch, steps, delay)
            for neuron, dtype, n in itertools.product((leaks, resets), (single, double), sizes)
            for batch, steps, delay in ((1, 1, 1), (3, 70, 30), (16, 64, 16))
            if n in (1, 16, 100) or batch == 3
        ]
    for neuron, dtype, n, batch, steps, delay in cases:
        runs = (
            (partial(scan_once, neuron, steps), scan_inputs(batch, steps, n, dtype=dtype)),
            (partial(write_once, neuron), write_inputs(batch, steps, n, dtype=dtype)),
            (partial(read_once, neuron, delay), read_inputs(batch, steps, n, delay, dtype=dtype)),
        )
        for run, inputs in runs:
            gradients(lambda x, run=run: flat(run(x)), inputs)
            with torch.no_grad():
                run(inputs)
    thr = torch.tensor(1.0, requires_grad=True)
    inputs = scan_inputs(2, 3, 3136, dtype=single)
    gradients(lambda x: flat(lif_scan(x[0], IFParameters(thr), 1, x[1])), inputs)


def compile_gust():
    import numpy as np
    import torch
    from torch import nn

    from gust.kernels import Draws, cuda

    sizes = [(4, 784, 10, 9, 0.5), (1, 1, 1, 1, 1), (3, 31, 7, 16, 0)]
    for (size, pixels, window, period, thinning), dtype in itertools.product(
        sizes, (torch.float32, torch.float64) if ALL else (torch.float32,)
    ):
        last, first = nn.Linear(5, pixels).to(dtype), nn.Linear(pixels, 6).to(dtype)
        images = torch.ones(size, pixels, dtype=dtype)
        scan = cuda.build(images, last, first, period, thinning)
        hidden = torch.zeros(size, window, 5, dtype=dtype, requires_grad=True)
        past = torch.zeros(size, pixels, dtype=dtype, requires_grad=True)
        counters = torch.zeros(size, pixels, dtype=torch.int32)
        for before in (0, 1, 16, 2**40):
            found = scan(hidden, counters, past, Draws(np.arange(size, dtype=np.uint64), before))
            (found.drive.sum() + found.past.sum()).backward()


def compile_snn_tha():
    import numpy as np
    import torch

    from snn_tha.kernels import Dropout, cuda
    from snn_tha.neurons import LIFParameters

    sizes = [(8, 2304, 100), (2, 1, 7), (1, 10, 3), (1, 1, 1)]
    sizes += [(3, 10, 333), (16, 16, 16), (1, 3000, 100)] if ALL else []
    for (size, units, steps), static, rate, dtype, spike_type in itertools.product(
        sizes,
        (False, True),
        (None, 0.3),
        (torch.float32, torch.float64) if ALL else (torch.float32,),
        (None, torch.bfloat16) if ALL else (None,),
    ):
        shape = (1 if static else steps, size, units)
        currents = torch.zeros(shape, dtype=dtype, requires_grad=True)
        dropout = rate and Dropout(rate, np.arange(size, dtype=np.uint64))
        neuron = LIFParameters(0.9, 1.0, 5.0)
        cuda.lif_scan(currents, neuron, steps, dropout, spike_type or dtype).sum().backward()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    kernels = compile_instead_of_starting(int(sys.argv[1]))
    import torch

    torch.autograd.set_multithreading_enabled(False)
    what = {"hebbian_snn": compile_hebbian, "gust": compile_gust, "snn_tha": compile_snn_tha}
    what[sys.argv[2]]()
    print(json.dumps(list(kernels.values())))
