"""The range of an axis or of colours that a few extreme values do not stretch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

WIDTHS = 10.0
"""How far beyond the densest half of the values the range may reach, in widths of that half."""
LOG_WIDTHS = 2.0
"""The same for a logarithmic range."""
LARGEST = 1e300
"""No range reaches further from 0, so that there is room for the ends of an axis."""
DECADES = 3.0
"""Positive values that span more decades than this, without extremes, get a logarithmic range."""


@dataclass(frozen=True)
class RobustScale:
    """A range for an axis or for colours.

    Attributes:
        low: The lower end.
        high: The upper end, above ``low``.
        log: Whether the range is logarithmic.
        below: How many of the values lie below it.
        above: How many lie above it.
    """

    low: float
    high: float
    log: bool
    below: int
    above: int

    def clip(self, value: float) -> float:
        """Return the value, or the end of the range that it is beyond."""
        return min(max(value, self.low), self.high)

    def holds(self, value: float) -> bool:
        """Return whether a value lies in the range."""
        return self.low <= value <= self.high

    @property
    def off(self) -> str:
        """How many values are not in the range, for a person to read; empty if all are."""
        parts = [f"{n} {where}" for n, where in ((self.above, "above"), (self.below, "below")) if n]
        return f"off the scale: {', '.join(parts)}" if parts else ""


def scale_of(values: Iterable[float]) -> RobustScale:
    """Return the range of the values that are finite, without extremes.

    The range reaches from the smallest to the largest value that lies within ``WIDTHS`` widths of the shortest interval
    that holds half of all values. So up to half of the values may be anything, such as 1e30, and change it little.
    Without any value it reaches from 0 to 1.
    """
    found = np.sort(np.asarray([v for v in values if math.isfinite(v)], dtype=np.float64))
    if not len(found):
        return RobustScale(0.0, 1.0, False, 0, 0)
    log = False
    if found[0] > 0:
        low, high = _fences(np.log10(found), LOG_WIDTHS, least=0.3)
        inside = found[(np.log10(found) >= low) & (np.log10(found) <= high)]
        log = bool(len(inside)) and math.log10(inside[-1]) - math.log10(inside[0]) > DECADES
    if not log:
        low, high = _fences(found, WIDTHS, least=0.0)
        inside = found[(found >= low) & (found <= high)]
    first, last = (min(max(float(end), -LARGEST), LARGEST) for end in (inside[0], inside[-1]))
    if first == last:
        half = abs(first) / 10 if abs(first) > 1e-300 else 0.5
        first, last, log = first - half, last + half, False
    return RobustScale(first, last, log, int((found < first).sum()), int((found > last).sum()))


def _fences(ordered: np.ndarray, widths: float, least: float) -> tuple[float, float]:
    """Return the ends of the shortest interval that holds half of the values, moved outwards by its width."""
    count = len(ordered)
    held = count // 2 + 1
    if held == 1:
        return float(ordered[0]), float(ordered[-1])
    with np.errstate(over="ignore"):
        spans = ordered[held - 1 :] - ordered[: count - held + 1]
    start = int(np.argmin(spans))
    low, high = float(ordered[start]), float(ordered[start + held - 1])
    width = max(high - low, least) or abs(low) / 2 or 1.0
    return low - widths * width, high + widths * width
