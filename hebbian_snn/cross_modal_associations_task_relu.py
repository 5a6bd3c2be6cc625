"""Cross-modal associations of the twin without spikes: cross_modal_associations_task.py --relu."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hebbian_snn import cross_modal_associations_task


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    return cross_modal_associations_task.main(["--relu", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    sys.exit(main())
