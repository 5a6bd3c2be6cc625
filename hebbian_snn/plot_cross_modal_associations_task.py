"""Draw what a trained network for cross-modal associations does in a trial.

    python -m hebbian_snn.plot_cross_modal_associations_task --checkpoint_path=cross_modal_frozen

The checkpoint is a path, or the name of a shipped one; a training state (.pt) does as well. Its own
settings are taken; flags of the model that are given must agree with them. Pictures, spikes and
rates are written to results/hebbian_cross_modal_activity.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import command_line
from hebbian_snn.figures import cross_modal_activity
from hebbian_snn.figures.trials import plot_command
from hebbian_snn.tasks.cross_modal import CrossModalTask


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    plot_command(
        CrossModalTask,
        __doc__,
        "cross_modal_frozen",
        "hebbian_cross_modal_activity",
        cross_modal_activity.compute,
        cross_modal_activity.draw,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
