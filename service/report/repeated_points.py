"""Trials that are repeats of one another: the same point, trained with other seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from service.report.record import SEED, SweepRecord, TrialRow


class RepeatSpread(NamedTuple):
    """Mean and spread of some finite numbers.

    Attributes:
        size: How many there are, at least 1.
        mean: Their mean.
        sd: Their standard deviation, with ``size`` - 1 in the denominator; None for a single number, or if it is not
            a finite number.
    """

    size: int
    mean: float
    sd: float | None


def spread_of(values: Sequence[float]) -> RepeatSpread:
    """Return mean and standard deviation of finite numbers, at least one; numbers near the largest float too."""
    count, largest = len(values), max(abs(value) for value in values) or 1.0
    scaled = [value / largest for value in values]
    mean = math.fsum(scaled) / count
    if count == 1:
        return RepeatSpread(1, values[0], None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in scaled) / (count - 1)) * largest
    return RepeatSpread(count, mean * largest, sd if math.isfinite(sd) else None)


def point_groups(record: SweepRecord) -> list[list[TrialRow]]:
    """Return the trials of the sweep in groups that are repeats of one another, each by number, the first one first.

    If the document has ``repeats``, trials whose numbers divided by it are the same belong together, and else those
    that differ in nothing but ``training.seed``.
    """
    repeats = int(getattr(record.spec, "repeats", 1) or 1)
    groups: dict[Any, list[TrialRow]] = {}
    for row in record.rows:
        key = row.number // repeats if repeats > 1 else point_key(row.params)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def point_key(params: Mapping[str, Any]) -> str:
    """Return what the trials of one point have in common: all values but the seed."""
    return json.dumps({path: value for path, value in params.items() if path != SEED}, sort_keys=True)
