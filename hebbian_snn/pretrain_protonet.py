"""Train a prototypical network on Omniglot, whose encoder is then converted to spikes.

    python -m hebbian_snn.pretrain_protonet

A step is an episode of 60 classes, one image of each to compare with and five to be classified. The
settings stand in ``hebbian_snn/settings/protonet.yaml``; every one is a flag. The network with the
best validation accuracy (5 classes, 1 + 15 images) is kept as
``runs/hebbian_snn/protonet/network.safetensors``, with its accuracy on 1 000 episodes of the test
classes. The same command goes on with an interrupted training.
"""

import sys

from hebbian_snn.convnets.protonet import ProtonetTask
from hebbian_snn.training.command import task_command

SPELLINGS = {
    "lr_scheduler_step": "decay_learning_rate_every",
    "lr_scheduler_gamma": "learning_rate_decay",
    "classes_per_iteration_train": "way",
    "classes_per_iteration_val": "evaluated_way",
    "num_samples_support_train": "shot",
    "num_samples_support_val": "shot",
    "num_samples_query_train": "queries",
    "num_samples_query_val": "evaluated_queries",
    "sampler_seed": "dataset_seed",
    "checkpoint_path": "out",
}
"""Flags of the original script, and what they are called here."""

main = task_command(ProtonetTask, __doc__, SPELLINGS)

if __name__ == "__main__":
    sys.exit(main())
