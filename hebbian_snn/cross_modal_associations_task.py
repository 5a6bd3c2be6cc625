"""Train or test a network that draws the image that went with a spoken digit.

    python -m hebbian_snn.cross_modal_associations_task --freeze_protonet

A sample is three pairs of a spoken and a written digit, then another recording of one of the spoken
digits; the image of its pair is wanted. Recordings and images come as spikes of two convolutional
networks that were trained as classifiers (``python -m hebbian_snn.pretrain_digit_classifier``, also
with --audio) and then converted. With --freeze_protonet their spikes are computed once and kept in
``datasets/files/hebbian_snn``, and only memory and decoder are trained; without, as in the paper,
all is trained end to end, which needs a GPU.

The settings stand in ``hebbian_snn/settings/cross_modal.yaml``; every one is a flag. ``--relu``
trains the twin without spikes. The network with the lowest validation error is kept as
``runs/hebbian_snn/cross_modal_frozen/network.safetensors`` (without --freeze_protonet
``cross_modal``). The same command goes on with an interrupted training.
"""

import sys

from hebbian_snn.tasks.cross_modal import CrossModalTask
from hebbian_snn.training.command import task_command

main = task_command(CrossModalTask, __doc__)

if __name__ == "__main__":
    sys.exit(main())
