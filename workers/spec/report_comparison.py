"""How the reports of two trainings compare: the same bits, the same up to rounding, or different."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

Likeness = Literal["equal", "equal to rounding", "different", "nothing in common"]
"""How two trainings compare. They have nothing in common if there is no step that both have reported."""

NEVER_EQUAL = ("time/", "throughput/", "system/")
"""The beginnings of the names of metrics that tell of the machine and not of the network."""
Reports = Mapping[int, Mapping[str, Any]]
"""The metrics of a trial by name, by the step of the report."""


@dataclass(frozen=True)
class MetricLikeness:
    """How one metric compares.

    Attributes:
        name: The metric.
        likeness: The same bits at all steps, the same up to rounding, or different.
        steps: At how many steps both trials have it.
        largest: The largest relative difference, |a - b| / max(|a|, |b|).
        largest_step: The first step with that difference; None if there is no difference.
        first_step: The first step at which the two differ at all; None if there is none.
    """

    name: str
    likeness: Likeness
    steps: int
    largest: float
    largest_step: int | None
    first_step: int | None


def rounding_of(dtype: str) -> float:
    """Return up to which relative difference numbers count as the same up to rounding: half of the digits agree.

    Args:
        dtype: ``training.dtype``.
    """
    eps = 2.0**-8 if dtype == "bfloat16" else float(np.finfo(dtype).eps)
    return math.sqrt(eps)


def compare_reports(first: Reports, second: Reports, rounding: float) -> tuple[Likeness, list[MetricLikeness]]:
    """Compare the metrics of two trials at the steps that both have reported.

    Args:
        first: The reports of one trial.
        second: Those of the other.
        rounding: The largest relative difference that counts as rounding.

    Returns:
        How the two compare, and how each metric does that both have, in the order of their names. Times are left out.
    """
    steps = sorted(first.keys() & second.keys())
    names = {name for step in steps for name in first[step].keys() & second[step].keys()}
    found = [
        _compare(name, first, second, steps, rounding)
        for name in sorted(names)
        if not name.startswith(NEVER_EQUAL) and any(_is_number(first[step].get(name)) for step in steps)
    ]
    order: tuple[Likeness, ...] = ("equal", "equal to rounding", "different")
    worst = max((order.index(metric.likeness) for metric in found), default=None)
    return ("nothing in common" if worst is None else order[worst]), found


def _compare(name: str, first: Reports, second: Reports, steps: list[int], rounding: float) -> MetricLikeness:
    differences = {
        step: _difference(first[step][name], second[step][name])
        for step in steps
        if _is_number(first[step].get(name)) and _is_number(second[step].get(name))
    }
    largest = max(differences.values(), default=0.0)
    likeness: Likeness = "equal" if largest == 0 else "equal to rounding" if largest <= rounding else "different"
    worst = next((step for step, found in differences.items() if found == largest), None) if largest else None
    unequal = next((step for step, found in differences.items() if found), None)
    return MetricLikeness(name, likeness, len(differences), largest, worst, unequal)


def _difference(a: float, b: float) -> float:
    return 0.0 if a == b else abs(a - b) / max(abs(a), abs(b))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
