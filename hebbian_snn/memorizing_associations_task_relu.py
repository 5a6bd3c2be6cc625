"""The associations task of the twin without spikes: memorizing_associations_task.py --relu."""

import sys

from hebbian_snn import memorizing_associations_task
from hebbian_snn.training.command import relu_command

main = relu_command(memorizing_associations_task.main)

if __name__ == "__main__":
    sys.exit(main())
