"""Repeats: each point of a sweep trained with several seeds.

With ``repeats`` R, point p of the sampler has the trials p * R, ..., p * R + R - 1. They differ in ``training.seed``
alone: the r-th of them has the seed of the document plus r, so that equal places of two points have equal seeds. To
everything that trains, stores and shows trials they are ordinary trials. Samplers and pruning rules see points instead,
which are made of trials here; ``workers.spec.point_results`` has what is known of points in the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence, Set
from statistics import fmean
from typing import Literal

from workers.spec.pruning_rules import Curve
from workers.spec.samplers import Observation
from workers.spec.search_space import Params, Scalar

Statistic = Literal["mean", "median", "min", "max"]
"""By what the objectives of the trials of a point become that of the point."""

SEED_PATH = "training.seed"
"""The field in which the trials of a point differ."""
MAX_REPEATS = 100
_SCALE = 2.0**64
"""More than the number of values. Division by a power of two is exact."""


def with_seeds(point: Mapping[str, Scalar], repeats: int, seed: int) -> list[Params]:
    """Return the values of each trial of a point: with one repeat the point itself, else the point and a seed.

    Args:
        point: The point, as the sampler proposes it.
        repeats: How many trials the point has.
        seed: The seed of the first of them, ``training.seed`` of the document.
    """
    return [dict(point)] if repeats == 1 else [{**point, SEED_PATH: seed + r} for r in range(repeats)]


def without_seed(params: Mapping[str, Scalar], repeats: int) -> Params:
    """Return the point of a trial from its values."""
    return {path: value for path, value in params.items() if repeats == 1 or path != SEED_PATH}


def observed_points(trials: Sequence[Observation], repeats: int, statistic: Statistic) -> list[Observation]:
    """Return the points of a sweep, as a sampler learns from them.

    A point has ended when all of its trials have, and its place is that of the last of them.

    Args:
        trials: All trials that exist, by number from 0.
        repeats: How many trials each point has. Those of the last point need not all be there; it has not ended then.
        statistic: What its objective is made by.
    """
    if repeats == 1:
        return list(trials)
    found = []
    for first in range(0, len(trials), repeats):
        own = trials[first : first + repeats]
        results = [trial.result for trial in own if not trial.cancelled]
        known = [result for result in results if result is not None]
        whole = len(own) == repeats and len(known) == len(results) > 0
        ended = len(own) == repeats and all(trial.ended for trial in own)
        places = [trial.place for trial in own if trial.place is not None]
        found.append(
            Observation(
                first // repeats,
                without_seed(own[0].params, repeats),
                aggregate(known, statistic) if whole else None,
                ended,
                max(places) if ended and len(places) == len(own) else None,
                all(trial.cancelled for trial in own),
            )
        )
    return found


def point_curves(
    curves: Mapping[int, Curve], left_out: Set[int], final: Set[int], repeats: int, statistic: Statistic
) -> dict[int, Curve]:
    """Return the curve of each point, by its number: the statistic at the steps that all of its trials have reported.

    A point has no curve before each of its trials has reported, which is why no point is judged by a part of its seeds.

    Args:
        curves: The curve of each trial that has one, by the trial's number.
        left_out: The trials that failed or were cancelled. The curves of their points are those of the others.
        final: The trials that have succeeded. Their last value stands at all later steps.
        repeats: How many trials each point has.
        statistic: What values are made one by.
    """
    found: dict[int, Curve] = {}
    for number in sorted({trial // repeats for trial in curves}):
        own = [trial for trial in range(number * repeats, (number + 1) * repeats) if trial not in left_out]
        if not own or any(trial not in curves for trial in own):
            continue
        values = [dict(curves[trial]) for trial in own]
        last = [curves[trial][-1] if trial in final else (math.inf, math.nan) for trial in own]
        curve: Curve = []
        for step in sorted(set().union(*values)):
            known = [
                at.get(step, value) for at, (end, value) in zip(values, last, strict=True) if step in at or step > end
            ]
            if len(known) == len(own):
                curve.append((step, aggregate(known, statistic)))
        if curve:
            found[number] = curve
    return found


def aggregate(values: Sequence[float], statistic: Statistic) -> float:
    """Return the statistic of at least one value; NaN if one of them is not finite."""
    if not all(map(math.isfinite, values)):
        return math.nan
    return _STATISTICS[statistic](values)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of at least one finite value, also if their sum is too large for a number."""
    try:
        return fmean(values)
    except OverflowError:  # the sum of finite numbers was not finite
        return fmean([value / _SCALE for value in values]) * _SCALE


def _median(values: Sequence[float]) -> float:
    return mean_of(sorted(values)[(len(values) - 1) // 2 : len(values) // 2 + 1])


_STATISTICS: dict[Statistic, Callable[[Sequence[float]], float]] = {
    "mean": mean_of,
    "median": _median,
    "min": min,
    "max": max,
}
