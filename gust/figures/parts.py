"""Parts of a figure's results that are kept on disk, so that a killed run goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import UserError
from common.results import load_arrays, save_arrays


def kept(
    path: Path, key: Mapping[str, Any], measure: Callable[[], Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays of an earlier run, or measured now and kept.

    Args:
        path: of the ``.npz`` file.
        key: what the arrays depend on; a file with another key, or a damaged one, is replaced.
        measure: makes the arrays.

    Returns:
        the arrays, and ``seconds`` (), what measuring them took.
    """
    text = json.dumps(key, sort_keys=True)
    try:
        stored = load_arrays(path)
        if str(stored.pop("key")) == text:
            return stored
    except (UserError, KeyError):
        pass
    began = time.perf_counter()
    arrays = dict(measure())
    arrays["seconds"] = np.array(time.perf_counter() - began)
    save_arrays(path, {**arrays, "key": np.array(text)})
    return arrays
