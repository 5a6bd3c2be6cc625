"""Draw what a trained network for associations does in one trial.

    python -m hebbian_snn.plot_memorizing_associations_task \
        --checkpoint_path=checkpoints/hebbian_snn/associations_2.safetensors

The checkpoint is a path, or the name of a shipped one; a training state (.pt) does as well. Its own
settings are taken; flags of the model that are given must agree with them, and --sequence_length
may be another. Pictures, spikes and rates are written to results/hebbian_associations_activity.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import command_line
from hebbian_snn.figures import activity
from hebbian_snn.figures.trials import plot_command
from hebbian_snn.tasks.associations import AssociationsTask


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    plot_command(
        AssociationsTask,
        __doc__,
        "associations_2",
        "hebbian_associations_activity",
        activity.compute,
        activity.draw,
        argv,
        generated=True,
    )


if __name__ == "__main__":
    sys.exit(main())
