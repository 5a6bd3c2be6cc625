"""Concentration played by the twin without spikes: reinforcement_learning_task.py --relu."""

import sys

from hebbian_snn import reinforcement_learning_task
from hebbian_snn.training.command import relu_command

main = relu_command(reinforcement_learning_task.main)

if __name__ == "__main__":
    sys.exit(main())
