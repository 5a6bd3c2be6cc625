"""Concentration played by the twin without spikes: reinforcement_learning_task.py --relu."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hebbian_snn import reinforcement_learning_task


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return reinforcement_learning_task.main(["--relu", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
