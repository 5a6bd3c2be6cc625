"""SNN-THA: binarised spiking networks and threshold annealing (Eshraghian and Lu, 2022).

Equations, commands and deviations from the paper: ``docs/snn_tha.md``.
"""

import common  # noqa: F401  (before torch and numba, see common/start.py)
