"""Draw the activities of a network without spikes in one trial: the plot script without _relu,
with associations_relu_2 and a folder of its own by default."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.paths import RESULTS
from hebbian_snn import plot_memorizing_associations_task

FOLDER = "hebbian_associations_activity_relu"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    flags = sys.argv[1:] if argv is None else argv
    default = ["--checkpoint_path", "associations_relu_2", "--out", str(RESULTS / FOLDER)]
    return plot_memorizing_associations_task.main([*default, *flags])


if __name__ == "__main__":
    sys.exit(main())
