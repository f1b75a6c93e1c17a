"""Ranges that extremes do not stretch, curves with fewer points, and means of repeats."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.report.repeated_points import point_groups, spread_of
from service.report.robust_scale import scale_of
from service.report.thinning import thin
from tests.service.report.sweeps import grid_sweep

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.floats(), max_size=60))
def test_a_scale_is_a_range_of_finite_numbers_and_counts_what_it_leaves_out(values: list[float]) -> None:
    scale = scale_of(values)
    finite = [value for value in values if math.isfinite(value)]
    assert -1e301 < scale.low < scale.high < 1e301
    assert scale.below == sum(value < scale.low for value in finite)
    assert scale.above == sum(value > scale.high for value in finite)
    assert scale.below + scale.above < max(1, len(finite)) or max(map(abs, finite)) > 1e300
    assert not scale.log or scale.low > 0
    assert all(scale.holds(scale.clip(value)) for value in finite)


@pytest.mark.parametrize("extremes", [[1e30], [-1e30], [1e30] * 9, [1e300, -1e300, 1e30], [math.nan, math.inf]])
def test_extremes_stretch_no_scale(extremes: list[float]) -> None:
    ordinary = [0.5 + 0.01 * i for i in range(10)]
    scale = scale_of(ordinary + extremes)
    assert (scale.low, scale.high) == (pytest.approx(0.5), pytest.approx(0.59))
    assert scale.below + scale.above == sum(math.isfinite(value) for value in extremes)
    assert ("off the scale" in scale.off) == any(map(math.isfinite, extremes))


def test_ordinary_values_are_all_shown() -> None:
    assert scale_of([0.1, 0.2, 0.9, 1.4, 2.5]).off == ""
    assert scale_of([1.0] * 5 + [2.0]).off == ""
    assert scale_of([3.0]).low < 3.0 < scale_of([3.0]).high
    decades = scale_of([10.0**-i for i in range(8)])
    assert decades.log
    assert (decades.low, decades.high) == (1e-7, 1.0)


@given(st.lists(st.integers(), max_size=300), st.integers(2, 50))
def test_thinned_points_keep_the_first_and_the_last_and_their_order(points: list[int], most: int) -> None:
    kept = thin(list(enumerate(points)), most)
    assert len(kept) <= most
    assert kept[:1] == list(enumerate(points))[:1]
    assert kept[-1:] == list(enumerate(points))[-1:]
    assert [place for place, _ in kept] == sorted({place for place, _ in kept})
    if len(points) < most:
        assert kept == list(enumerate(points))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_mean_and_spread_are_those_of_the_library(values: list[float]) -> None:
    found = spread_of(values)
    assert found.size == len(values)
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6)
    assert found.sd == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)


def test_the_spread_of_huge_values_does_not_overflow() -> None:
    assert spread_of([1.7e308, 1.7e308]).mean == pytest.approx(1.7e308)
    assert spread_of([1.7e308, -1.7e308]).mean == 0
    assert spread_of([0.5]) == (1, 0.5, None)


def test_trials_that_differ_in_their_seed_alone_are_one_point() -> None:
    groups = point_groups(grid_sweep())
    assert [len(group) for group in groups] == [3] * 9
    assert [row.number for row in groups[1]] == [3, 4, 5]
