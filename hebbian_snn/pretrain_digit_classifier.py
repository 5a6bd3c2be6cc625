"""Train a classifier of digits, whose encoder is then converted to spikes.

    python -m hebbian_snn.pretrain_digit_classifier            written digits, MNIST
    python -m hebbian_snn.pretrain_digit_classifier --audio    spoken digits, FSDD

The settings stand in ``hebbian_snn/settings/digits.yaml``; every one is a flag. A tenth of the
official training set is for validation. The network with the best validation accuracy is kept as
``network.safetensors`` in ``runs/hebbian_snn/digits_image`` or ``digits_audio``, with its accuracy
on the official test set. The same command goes on with an interrupted training.
"""

import sys

from hebbian_snn.convnets.digit_classifier import ClassifierTask
from hebbian_snn.training.command import task_command

WITHOUT_EFFECT = {"data_seed": "every tenth sample is for validation, whatever the seed"}
"""Flags of the original script that are accepted, and why nothing comes of them."""

main = task_command(ClassifierTask, __doc__, without_effect=WITHOUT_EFFECT)

if __name__ == "__main__":
    sys.exit(main())
