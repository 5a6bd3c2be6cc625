"""Question answering by the twin without spikes: question_answering_task.py --relu."""

import sys

from hebbian_snn import question_answering_task
from hebbian_snn.training.command import relu_command

main = relu_command(question_answering_task.main)

if __name__ == "__main__":
    sys.exit(main())
