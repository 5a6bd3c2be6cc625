"""The loops compiled for CPUs, each with its own backward pass."""

from hebbian_snn.kernels.cpu.reading import read_memory
from hebbian_snn.kernels.cpu.scan import lif_scan
from hebbian_snn.kernels.cpu.writing import write_memory

__all__ = ["lif_scan", "read_memory", "write_memory"]
