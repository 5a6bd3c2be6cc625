"""Hebbian memory: spiking networks whose key-to-value synapses learn during a trial.

Limbacher, Özdenizci, Legenstein, *Memory-enriched computation and learning in spiking neural
networks through Hebbian plasticity*, TNNLS 2023.
"""

import common  # noqa: F401  (before torch and numba, see common/start.py)
