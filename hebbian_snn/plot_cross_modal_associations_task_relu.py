"""Draw the activities of a network without spikes in one trial: the plot script without _relu,
with cross_modal_relu_frozen and a folder of its own by default."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.paths import RESULTS
from hebbian_snn import plot_cross_modal_associations_task

FOLDER = "hebbian_cross_modal_activity_relu"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    flags = sys.argv[1:] if argv is None else argv
    default = ["--checkpoint_path", "cross_modal_relu_frozen", "--out", str(RESULTS / FOLDER)]
    return plot_cross_modal_associations_task.main([*default, *flags])


if __name__ == "__main__":
    sys.exit(main())
