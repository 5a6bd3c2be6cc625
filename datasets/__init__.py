"""Generators and loaders of every data set of the four papers (no models in here)."""

import common  # noqa: F401  (before torch and numba, see common/start.py)
