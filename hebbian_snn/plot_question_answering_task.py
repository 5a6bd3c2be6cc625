"""Draw what a trained network for question answering does with one story.

    python -m hebbian_snn.plot_question_answering_task \
        --checkpoint_path=checkpoints/hebbian_snn/babi_1_delay_30.safetensors

The checkpoint is a path, or the name of a shipped one; a training state (.pt) does as well. Its own
settings are taken; flags of the model that are given must agree with them. Pictures, spikes and
rates are written to results/hebbian_babi_activity.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from common.errors import command_line
from hebbian_snn.figures import story
from hebbian_snn.figures.trials import plot_command
from hebbian_snn.tasks.question_answering import QuestionAnsweringTask


@command_line
def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    plot_command(
        QuestionAnsweringTask,
        __doc__,
        "babi_1_delay_30",
        "hebbian_babi_activity",
        story.compute,
        story.draw,
        argv,
    )


if __name__ == "__main__":
    sys.exit(main())
