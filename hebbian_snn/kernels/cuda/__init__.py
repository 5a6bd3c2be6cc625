"""The loops for CUDA in Triton, each with its own backward pass.

Triton comes with the CUDA builds of PyTorch and is imported only here. Its interpreter runs the
kernels without a GPU: ``TRITON_INTERPRET=1``, as ``tests/hebbian_snn/test_hebbian_cuda.py`` does.
Sums are taken in a fixed order, so that a repeated call gives the same numbers.
"""

import triton

from hebbian_snn.kernels.cuda.reading import read_memory
from hebbian_snn.kernels.cuda.scan import lif_scan
from hebbian_snn.kernels.cuda.writing import write_memory

__all__ = ["lif_scan", "read_memory", "triton", "write_memory"]
