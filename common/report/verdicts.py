"""How a measured number stands beside the published one."""

from __future__ import annotations

from dataclasses import dataclass

from common.paper_values import Published
from common.records import Measurement

KINDS = {
    "reached": "reached",
    "within": "within its interval",
    "off": "below or above",
    "unpublished": "not published",
    "missing": "missing",
}
"""Kinds of verdicts, and what the page calls them."""


@dataclass(frozen=True)
class Verdict:
    """One of :data:`KINDS`, in words."""

    kind: str
    text: str


def verdict_of(published: Published, measurement: Measurement | None) -> Verdict:
    """How a measurement stands beside the number that was published for it.

    Reached: at least as good as the paper's; within its interval: not, but the 95 % interval of the
    measured mean holds the paper's value; else below or above it by the difference of both. Where
    the paper's number is one to be met (``better: same``), passing it is a difference as well.
    """
    if measurement is None or measurement.value is None:
        return Verdict("missing", "missing")
    if published.value is None:
        return Verdict("unpublished", "not published")
    difference = measurement.value - published.value
    good = {"higher": difference >= 0, "lower": difference <= 0, "same": difference == 0}
    if good[published.better]:
        return Verdict("reached", "reached")
    if measurement.interval95 is not None and abs(difference) <= measurement.interval95:
        return Verdict("within", "within its interval")
    side = "below" if difference < 0 else "above"
    return Verdict("off", f"{side} by {abs(difference):.2g}")
