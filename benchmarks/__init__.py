"""Fast paths against direct implementations, timed in one run."""

import common  # noqa: F401  (before torch and numba, see common/start.py)
