"""Cross-modal associations of the twin without spikes: cross_modal_associations_task.py --relu."""

import sys

from hebbian_snn import cross_modal_associations_task
from hebbian_snn.training.command import relu_command

main = relu_command(cross_modal_associations_task.main)

if __name__ == "__main__":
    sys.exit(main())
