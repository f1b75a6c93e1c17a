"""What is known of the points of a sweep with repeats: their objectives, their spread, and how two of them compare.

A point has a result once all of its trials that were not cancelled have one (``workers.spec.ranking``). A trial that
has failed therefore leaves its point without a result until it is run again: a mean over those that went well would
favour the settings of which some go wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import stdev
from typing import Literal, NamedTuple

from workers.spec.ranking import Direction, has_result, merit, rank_key
from workers.spec.repeats import Statistic, aggregate, mean_of

Verdict = Literal["better", "worse", "not told apart"]
"""What a comparison says of the first of two points."""

CONFIDENCE = 0.95
"""The confidence of all intervals."""
SAME = 1e-6
"""Differences count as the same number if they spread by at most this part of the values that were subtracted: what
rounding in float32 leaves of equal differences."""


class SampleSummary(NamedTuple):
    """What a few values say of the distribution that they come from.

    Attributes:
        n: The number of values.
        mean: Their mean; None without values.
        sd: Their standard deviation, with n - 1 in the denominator; None for fewer than two values.
        interval: The two ends of the interval of the mean by Student's t; None for fewer than two values.
    """

    n: int
    mean: float | None = None
    sd: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class RepeatResult:
    """What is known of one trial of a point: its number in the sweep, its state, and its objective so far."""

    number: int
    state: str
    objective: float | None

    @property
    def result(self) -> float | None:
        """The objective if it counts, else None."""
        return self.objective if has_result(self.state, self.objective) else None


@dataclass(frozen=True)
class PointResult:
    """What is known of one point.

    Attributes:
        number: The number of the point, from 0.
        repeats: Its trials by number.
        objective: The statistic of the objectives of its trials; None if the point has no result.
        missing: Why the point has no result, for a person to read; None if it has one.
    """

    number: int
    repeats: tuple[RepeatResult, ...]
    objective: float | None
    missing: str | None

    @cached_property
    def summary(self) -> SampleSummary:
        """What those of its trials that have a result say of the mean, also if the point has none."""
        return summarised([repeat.result for repeat in self.repeats if repeat.result is not None])

    def best_repeat(self, direction: Direction) -> RepeatResult | None:
        """Return the trial with the best objective, the first of equals; None if no trial has a result."""
        found = min(self.repeats, key=lambda r: rank_key(r.state, r.objective, r.number, direction), default=None)
        return found if found and found.result is not None else None


@dataclass(frozen=True)
class Comparison:
    """Two points compared by the trials that have the same seed.

    Attributes:
        first: The number of the first point.
        second: The number of the second point.
        differences: What the differences, first minus second, of the trials of one seed say of their mean. There is no
            interval if they are all the same number, up to rounding: their spread then says nothing.
        verdict: Whether the first point is better or worse than the second, or whether the two are not told apart.
        reason: Why there is no interval; None if there is one.
    """

    first: int
    second: int
    differences: SampleSummary
    verdict: Verdict
    reason: str | None


def grouped(trials: Iterable[RepeatResult], repeats: int, statistic: Statistic) -> list[PointResult]:
    """Return the points of trials, by number.

    Args:
        trials: All trials of a sweep that exist, in order of number.
        repeats: How many trials each point has.
        statistic: What the objective of a point is made by.
    """
    points: dict[int, list[RepeatResult]] = {}
    for trial in trials:
        points.setdefault(trial.number // repeats, []).append(trial)
    return [_point(number, own, repeats, statistic) for number, own in points.items()]


def ranked_points(points: Iterable[PointResult], direction: Direction) -> list[PointResult]:
    """Return points, the best first and those without a result last; of equals the lower number is first."""
    return sorted(points, key=lambda p: (p.objective is None, -merit(p.objective, direction), p.number))


def best_point(points: Iterable[PointResult], direction: Direction) -> PointResult | None:
    """Return the point with the best objective, the first of equals; None if no point has a result."""
    first = next(iter(ranked_points(points, direction)), None)
    return first if first and first.objective is not None else None


def compared(points: Sequence[PointResult], direction: Direction) -> list[Comparison]:
    """Compare each of several points with each of those after it, by the trials that have the same seed.

    The mean difference has an interval by Student's t, and the verdict is "not told apart" if that holds 0, if fewer
    than two seeds can be compared, or if a point has no result. With k pairs the confidence of each interval is
    1 - 0.05 / k (Bonferroni), so that in at most 5 % of all answers any two equal settings are told apart.

    Differences that are all the same number, as small numbers of correct answers may be, have no spread from which an
    interval could follow. Then the sign test decides: n equal signs have the probability 2^(1 - n).
    """
    pairs = list(combinations(points, 2))
    return [_compare(first, second, direction, (1 - CONFIDENCE) / len(pairs)) for first, second in pairs]


def summarised(values: Sequence[float], alpha: float = 1 - CONFIDENCE) -> SampleSummary:
    """Return what finite values say of the mean of the distribution that they come from.

    Args:
        values: The values.
        alpha: The probability with which the interval may miss the mean, if values are distributed normally.
    """
    if len(values) < 2:
        return SampleSummary(len(values), values[0] if values else None)
    mean = mean_of(values)
    try:
        sd = stdev(values)
    except OverflowError:  # the numbers are finite, and their spread is not
        return SampleSummary(len(values), mean)
    half = _t_quantile(1 - alpha / 2, len(values) - 1) * sd / math.sqrt(len(values))
    interval = (mean - half, mean + half)
    return SampleSummary(len(values), mean, sd, interval if all(map(math.isfinite, interval)) else None)


def _point(number: int, own: Sequence[RepeatResult], repeats: int, statistic: Statistic) -> PointResult:
    values = [trial.result for trial in own if trial.result is not None]
    missing = _missing(own, repeats)
    objective = aggregate(values, statistic) if missing is None else None
    return PointResult(number, tuple(own), objective, missing)


def _missing(own: Sequence[RepeatResult], repeats: int) -> str | None:
    """Return why a point has no result; None if it has one."""
    failed = [str(trial.number) for trial in own if trial.state == "failed"]
    counted = [trial for trial in own if trial.state != "cancelled"]
    without = [trial for trial in counted if trial.result is None]
    if failed:
        return f"{'trials' if len(failed) > 1 else 'trial'} {', '.join(failed)} failed"
    if len(own) < repeats:
        return f"{len(own)} of its {repeats} trials exist"
    if not counted:
        return "all of its trials were cancelled"
    return f"{len(without)} of its {len(counted)} trials have no result" if without else None


def _compare(first: PointResult, second: PointResult, direction: Direction, alpha: float) -> Comparison:
    # every point has a trial for every seed, in the same order
    pairs = [
        (a.result, b.result)
        for a, b in zip(first.repeats, second.repeats, strict=False)
        if a.result is not None and b.result is not None
    ]
    differences = [a - b for a, b in pairs]
    if not all(map(math.isfinite, differences)):
        return _untold(first, second, SampleSummary(len(pairs)), "the differences are too large for a number")
    found = summarised(differences, alpha)
    lacking = next((point for point in (first, second) if point.missing), None)
    if lacking:
        return _untold(first, second, found, f"point {lacking.number} has no result: {lacking.missing}")
    if found.mean is None or found.sd is None:
        return _untold(first, second, found, "two seeds are needed for an interval, and more for a narrow one")
    better = found.mean > 0 if direction == "maximize" else found.mean < 0
    verdict: Verdict = "better" if better else "worse"
    largest = max(max(abs(a), abs(b)) for a, b in pairs)
    if found.sd <= SAME * largest:
        reason = "the differences are all the same, so that their spread says nothing; their signs decide"
        told = abs(found.mean) > SAME * largest and 2.0 ** (1 - found.n) <= alpha
        told_apart = verdict if told else "not told apart"
        return Comparison(first.number, second.number, found._replace(interval=None), told_apart, reason)
    if found.interval is None:
        return _untold(first, second, found, "the interval is too wide for a number")
    low, high = found.interval
    return Comparison(first.number, second.number, found, "not told apart" if low <= 0 <= high else verdict, None)


def _untold(first: PointResult, second: PointResult, found: SampleSummary, reason: str) -> Comparison:
    return Comparison(first.number, second.number, found._replace(interval=None), "not told apart", reason)


def _t_quantile(probability: float, degrees: int) -> float:
    """Return the quantile of Student's t distribution."""
    from scipy.special import stdtrit  # loaded when a spread is asked for, and not by every import of a sweep document

    return float(stdtrit(degrees, probability))
