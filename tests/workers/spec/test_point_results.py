"""Points of sweeps with repeats: their spread and comparisons against scipy, and how often equal settings differ."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from workers.spec.point_results import (
    Comparison,
    PointResult,
    RepeatResult,
    best_point,
    compared,
    grouped,
    ranked_points,
    summarised,
)
from workers.spec.ranking import Direction
from workers.spec.repeats import Statistic

values = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=2, max_size=20)
SPREAD = 1e-3
"""The least range of drawn values relative to their size, above which scipy's t test loses no digits."""


def points_of(
    *groups: Sequence[float | None], state: str = "succeeded", statistic: Statistic = "mean"
) -> list[PointResult]:
    """Return points whose trials have these objectives; trials without one have failed."""
    repeats = len(groups[0])
    flat = [value for group in groups for value in group]
    trials = [RepeatResult(i, "failed" if v is None else state, v) for i, v in enumerate(flat)]
    return grouped(trials, repeats, statistic)


def verdict(a: Sequence[float | None], b: Sequence[float | None], direction: Direction = "minimize") -> Comparison:
    (found,) = compared(points_of(a, b), direction)
    return found


@given(values)
def test_the_spread_is_that_of_scipy(found: list[float]) -> None:
    assume(max(found) - min(found) > SPREAD * max(1.0, *map(abs, found)))
    summary = summarised(found)
    n = len(found)
    assert summary.n == n
    assert summary.mean == pytest.approx(np.mean(found), rel=1e-9, abs=1e-9)
    assert summary.sd == pytest.approx(np.std(found, ddof=1), rel=1e-9)
    expected = stats.t.interval(0.95, n - 1, loc=np.mean(found), scale=stats.sem(found))
    assert summary.interval == pytest.approx(expected, rel=1e-9, abs=1e-9 * max(map(abs, found)))


@given(values, st.data(), st.sampled_from(["minimize", "maximize"]))
def test_the_verdict_is_that_of_scipys_paired_t_test(a: list[float], data: st.DataObject, direction: Direction) -> None:
    b = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(a), max_size=len(a)))
    differences = [x - y for x, y in zip(a, b, strict=True)]
    assume(max(differences) - min(differences) > SPREAD * max(map(abs, [1.0, *a, *b])))
    test = stats.ttest_rel(a, b)
    assume(abs(test.pvalue - 0.05) > 1e-6)
    found = verdict(a, b, direction)
    assert found.differences.interval == pytest.approx(tuple(test.confidence_interval(0.95)), rel=1e-6, abs=1e-3)
    lower = bool(test.statistic < 0)
    told = "better" if lower == (direction == "minimize") else "worse"
    assert found.verdict == (told if test.pvalue < 0.05 else "not told apart")
    assert found.reason is None
    mirrored = verdict(b, a, direction)
    opposite = {"better": "worse", "worse": "better", "not told apart": "not told apart"}
    assert mirrored.verdict == opposite[found.verdict]


def equal_settings(draw: str, repeats: int, count: int, seed: int) -> list[bool]:
    """Return whether two settings that differ only by their seeds are told apart, in each of many sweeps."""
    rng = np.random.default_rng(seed)
    draws = {
        "normal": lambda: rng.normal(0.4, 0.02, repeats),
        "skewed": lambda: rng.lognormal(-3, 0.5, repeats),  # losses that differ by factors
        "few answers": lambda: rng.binomial(300, 0.9, repeats) / 300,  # right answers of 300 series
    }
    pairs = [(draws[draw]().tolist(), draws[draw]().tolist()) for _ in range(count)]
    return [verdict(a, b, "maximize").verdict != "not told apart" for a, b in pairs]


def test_of_100_sweeps_at_least_93_do_not_tell_apart_settings_that_differ_only_by_seed() -> None:
    assert sum(equal_settings("normal", repeats=5, count=100, seed=0)) <= 7


@pytest.mark.parametrize("repeats", [2, 3, 5, 10])
@pytest.mark.parametrize("draw", ["normal", "skewed", "few answers"])
def test_equal_settings_are_told_apart_in_5_of_100_sweeps(draw: str, repeats: int) -> None:
    """The bound is three standard deviations above 5 %."""
    assert sum(equal_settings(draw, repeats, count=1000, seed=repeats)) <= 50 + 3 * math.sqrt(1000 * 0.05 * 0.95)


def test_of_many_equal_settings_seldom_any_two_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        points = points_of(*(rng.normal(0, 1, 5).tolist() for _ in range(6)))
        found = compared(points, "minimize")
        assert len(found) == 15
        wrong += any(pair.verdict != "not told apart" for pair in found)
    assert wrong / 400 <= 0.07


def test_settings_that_differ_are_told_apart_by_pairs_of_seeds() -> None:
    """The seeds decide most of the values, and the setting a little: a comparison without pairs would not see it."""
    rng = np.random.default_rng(1)
    seeds = rng.normal(0, 1, 5)
    a, b = seeds + rng.normal(0, 0.01, 5), seeds + 0.1 + rng.normal(0, 0.01, 5)
    found = verdict(a.tolist(), b.tolist())
    assert found.verdict == "better"
    assert found.differences.mean == pytest.approx(-0.1, abs=0.02)
    assert stats.ttest_ind(a, b).pvalue > 0.5


def test_equal_differences_are_judged_by_their_signs() -> None:
    assert verdict([0.5, 0.7], [0.4, 0.6], "maximize").verdict == "not told apart"
    assert verdict([0.5] * 5, [0.4] * 5, "maximize").verdict == "not told apart"
    six = verdict([0.5] * 6, [0.4] * 6, "maximize")
    assert (six.verdict, six.differences.interval) == ("better", None)
    assert "signs" in str(six.reason)
    same = verdict([0.5] * 20, [0.5] * 20)
    assert same.verdict == "not told apart"


def test_a_point_has_a_result_once_all_of_its_trials_that_were_not_cancelled_have_one() -> None:
    def point(*trials: tuple[str, float | None]) -> PointResult:
        (found,) = grouped([RepeatResult(i, *trial) for i, trial in enumerate(trials)], 3, "mean")
        return found

    assert point(("succeeded", 1.0), ("pruned", 2.0), ("running", 6.0)).objective == 3.0
    assert point(("succeeded", 1.0), ("pruned", 2.0), ("cancelled", 6.0)).objective == 1.5
    waiting = point(("succeeded", 1.0), ("running", None), ("waiting", None))
    assert (waiting.objective, waiting.missing) == (None, "2 of its 3 trials have no result")
    failed = point(("succeeded", 1.0), ("failed", 0.5), ("succeeded", 2.0))
    assert (failed.objective, failed.missing) == (None, "trial 1 failed")
    assert (failed.summary.n, failed.summary.mean) == (2, 1.5)
    endless = point(("succeeded", math.inf), ("succeeded", math.nan), ("succeeded", 2.0))
    assert (endless.objective, endless.missing) == (None, "2 of its 3 trials have no result")
    assert point(*[("cancelled", 1.0)] * 3).missing == "all of its trials were cancelled"
    assert point(("succeeded", 1.0)).missing == "1 of its 3 trials exist"


def test_a_point_without_a_result_is_not_told_apart_from_any() -> None:
    found = verdict([0.1, 0.1, None, 0.11], [0.8, 0.9, 0.7, 0.8])
    assert found.verdict == "not told apart"
    assert found.reason == "point 0 has no result: trial 2 failed"
    assert found.differences.n == 3
    one = verdict([0.1], [0.9])
    assert (one.verdict, one.differences.n, one.differences.mean) == ("not told apart", 1, -0.8)
    assert "two seeds" in str(one.reason)


@pytest.mark.parametrize(("statistic", "objective"), [("mean", 3.0), ("median", 2.5), ("min", 1.0), ("max", 6.0)])
def test_the_objective_is_the_statistic_and_the_spread_that_of_the_mean(statistic: Statistic, objective: float) -> None:
    (point,) = points_of([6.0, 1.0, 3.0, 2.0], statistic=statistic)
    assert point.objective == objective
    assert point.summary.mean == 3.0


def test_points_are_ranked_by_their_objectives_and_the_best_trial_is_of_the_best_point() -> None:
    points = points_of([0.1, 0.9], [0.4, 0.4], [None, 0.0], [0.4, 0.4])
    assert [point.number for point in ranked_points(points, "minimize")] == [1, 3, 0, 2]
    assert [point.number for point in ranked_points(points, "maximize")] == [0, 1, 3, 2]
    best = best_point(points, "maximize")
    assert best is not None
    assert [best.best_repeat(d).number for d in ("minimize", "maximize")] == [0, 1]  # type: ignore[union-attr]
    assert best_point(points_of([None, 1.0]), "minimize") is None


def test_numbers_near_the_largest_have_a_mean() -> None:
    (point,) = points_of([1.5e308, 1.7e308, 1.6e308])
    assert point.objective == pytest.approx(1.6e308)
    (wide,) = points_of([1.7e308, -1.7e308, 1.7e308])
    assert wide.summary.interval is None
    assert verdict([1.7e308, 1.7e308], [-1.7e308, -1.7e308]).verdict == "not told apart"
