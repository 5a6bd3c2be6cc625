"""Draw what a trained network for one-shot learning does in an episode.

    python -m hebbian_snn.plot_omniglot_one_shot_task --checkpoint_path=omniglot_frozen

The checkpoint is a path, or the name of a shipped one; a training state (.pt) does as well. Its own
settings are taken; flags of the model that are given must agree with them. Pictures, spikes and
rates are written to results/hebbian_omniglot_activity.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import command_line
from hebbian_snn.figures import omniglot_activity
from hebbian_snn.figures.trials import plot_command
from hebbian_snn.tasks.omniglot import OmniglotTask


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    plot_command(
        OmniglotTask,
        __doc__,
        "omniglot_frozen",
        "hebbian_omniglot_activity",
        omniglot_activity.compute,
        omniglot_activity.draw,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
