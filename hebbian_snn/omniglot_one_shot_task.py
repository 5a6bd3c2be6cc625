"""Train or test a network that learns characters from one drawing each.

    python -m hebbian_snn.omniglot_one_shot_task --freeze_protonet

A sample is an episode: five images of five classes with the labels 0 to 4, then another drawing of
one of them, whose label is wanted. The images come as spikes of a convolutional network that was
trained without them (``python -m hebbian_snn.pretrain_protonet``) and then converted. With
--freeze_protonet its spikes are computed once and kept in ``datasets/files/hebbian_snn``, and only
the memory is trained; without, as in the paper, all is trained end to end, which needs a GPU.

The settings stand in ``hebbian_snn/settings/omniglot.yaml``; every one is a flag. ``--relu`` trains
the twin without spikes. The network with the best validation accuracy is kept as
``runs/hebbian_snn/omniglot_frozen/network.safetensors`` (without --freeze_protonet ``omniglot``).
The same command goes on with an interrupted training.
"""

import sys

from hebbian_snn.tasks.omniglot import OmniglotTask
from hebbian_snn.training.command import task_command

main = task_command(OmniglotTask, __doc__)

if __name__ == "__main__":
    sys.exit(main())
