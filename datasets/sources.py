"""What data are, and on what a trained network may be tested: one rule for all papers.

A network is tested on what it was trained on, or on related data that are then named in the row of
the result; everything else is refused.
"""

from __future__ import annotations

import re

from common.errors import NotThereError
from datasets.choices import EMBEDDED_DIGITS

STAND_IN = "_embedded"
"""Ending of the names of networks that are trained on a stand-in."""

_STAND_IN = re.compile("embedded|cochlea model|5 000 images")


def is_stand_in(source: str) -> bool:
    """Whether data of this name stand in for a real data set."""
    return _STAND_IN.search(source) is not None


def tested_on(network: str, trained: str, here: str, new_samples: bool = True) -> str:
    """The name of the data of a test, for its row.

    Related are: all of MNIST and 5 000 of its images; the official bAbI stories and generated ones
    in their words.

    Args:
        network: for the message.
        trained, here: ``source`` of the data that the network was trained on, and of those that are
            there to test it.
        new_samples: the score is of samples that the network has not seen, as accuracies are;
            DASBE's and GUST's are not. The 5 000 images are from MNIST's training set, so a network
            that was trained on all of it is not tested on them.

    Raises :class:`NotThereError` for data that are not related, and for samples that were seen.
    """
    if trained == here:
        return here
    if trained == "MNIST" and here == EMBEDDED_DIGITS and new_samples:
        raise NotThereError(f"{network} was trained on MNIST, {here} among them; it needs MNIST")
    if {trained, here} == {"MNIST", EMBEDDED_DIGITS}:
        return here
    if trained.startswith("bAbI v1.2") and here == "embedded stories":
        return here
    raise NotThereError(f"{network} was trained on other data: {trained}, not {here}")
