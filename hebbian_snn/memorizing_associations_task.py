"""Train or test a network that memorizes pairs of a random vector and a label.

    python -m hebbian_snn.memorizing_associations_task --sequence_length 5 --num_classes 5

A sample is a sequence of pairs, no label twice; then one of the vectors is shown again, and its
label is wanted. The settings stand in ``hebbian_snn/settings/associations.yaml``; every one is a
flag. ``--relu`` trains the twin without spikes. The network with the best validation accuracy is
kept as ``runs/hebbian_snn/associations_<pairs>/network.safetensors``; log and training state of the
last epoch lie beside it. The same command goes on with an interrupted training.
"""

import sys

from hebbian_snn.tasks.associations import AssociationsTask
from hebbian_snn.training.command import task_command

main = task_command(AssociationsTask, __doc__)

if __name__ == "__main__":
    sys.exit(main())
