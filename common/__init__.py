"""What all four papers need, once: settings, checkpoints, training, records, metrics, drawing."""

from common.start import prepare

prepare()
