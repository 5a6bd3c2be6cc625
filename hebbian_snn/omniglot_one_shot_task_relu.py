"""One-shot learning of the twin without spikes: omniglot_one_shot_task.py --relu."""

import sys

from hebbian_snn import omniglot_one_shot_task
from hebbian_snn.training.command import relu_command

main = relu_command(omniglot_one_shot_task.main)

if __name__ == "__main__":
    sys.exit(main())
