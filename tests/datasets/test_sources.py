"""What a trained network may be tested on."""

import pytest

from common.errors import NotThereError
from datasets import sources
from datasets.choices import EMBEDDED_DIGITS
from datasets.sources import is_stand_in


@pytest.mark.parametrize(
    ("trained", "here", "accuracy", "grouping"),
    [
        ("MNIST", "MNIST", True, True),
        ("MNIST", EMBEDDED_DIGITS, False, True),  # seen in training
        (EMBEDDED_DIGITS, "MNIST", True, True),
        (EMBEDDED_DIGITS, EMBEDDED_DIGITS, True, True),
        ("bAbI v1.2 en-10k", "embedded stories", True, True),
        ("embedded stories", "bAbI v1.2 en-10k", False, False),
        ("bAbI v1.2 en", "bAbI v1.2 en-10k", False, False),
        ("Omniglot", "embedded strokes", False, False),
        ("FSDD v1.0.10", "embedded tones", False, False),
        ("MNIST", "Fashion-MNIST", False, False),
        ("MNIST", "embedded digits", False, False),  # those of earlier versions
    ],
)
def test_the_rule(trained, here, accuracy, grouping):
    for new_samples, allowed in ((True, accuracy), (False, grouping)):
        if allowed:
            assert sources.tested_on("net", trained, here, new_samples) == here
        else:
            with pytest.raises(NotThereError, match="net was trained on"):
                sources.tested_on("net", trained, here, new_samples)


def test_stand_ins_are_known_by_name():
    for source in (EMBEDDED_DIGITS, "embedded tones", "cochlea model of FSDD v1.0.10"):
        assert is_stand_in(source)
    for source in ("MNIST", "Fashion-MNIST", "Omniglot", "FSDD v1.0.10", "DVS128 Gesture (cut)"):
        assert not is_stand_in(source)
