"""DASBE: binding the pixels of each object by synchronous firing (Zheng et al., NeurIPS 2022).

``dasbe.bind(images, network, window, refractory)`` is the whole model in one call.
"""

import common  # noqa: F401  (before torch and numba, see common/start.py)
from dasbe.binding import Binding, bind

__all__ = ["Binding", "bind"]
