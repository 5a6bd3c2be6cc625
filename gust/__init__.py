"""GUST: grouping by synchrony that emerges from training on images of several objects.

Zheng, Lin, Zhao, *Combinatorial generalization by unsupervised grouping with neuronal coherence*,
NeurIPS 2023.
"""

import common  # noqa: F401  (before torch and numba, see common/start.py)
