"""One-shot learning of the twin without spikes: omniglot_one_shot_task.py --relu."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hebbian_snn import omniglot_one_shot_task


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return omniglot_one_shot_task.main(["--relu", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
