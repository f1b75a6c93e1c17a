"""The one order of objectives, in words: finite before all else, equals by number, failed and cancelled trials last."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import get_args

import pytest

from service.states import TRIAL_MOVES
from workers.spec.ranking import WITHOUT_RESULT, Direction, has_result, merit, rank_key
from workers.spec.trial import Objective

NAN, INF = math.nan, math.inf
NO_NUMBER = (None, NAN, INF, -INF)
FINITE = (-1.7976931348623157e308, -1e30, -1.0, -5e-324, 0.0, 5e-324, 1.0, 1e30, 1.7976931348623157e308)
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_finite_numbers_are_ordered_and_everything_else_is_equal_and_worse(direction: Direction) -> None:
    ordered = FINITE if direction == "maximize" else FINITE[::-1]
    goal = Objective(metric="val/loss", direction=direction)
    for worse, better in pairwise(ordered):
        assert goal.better(better, worse)
        assert not goal.better(worse, better)
    for bad, value in product(NO_NUMBER, FINITE):
        assert goal.better(value, bad)
        assert not goal.better(bad, value)
    for one, other in product(NO_NUMBER, NO_NUMBER):
        assert not goal.better(one, other)
    assert not goal.better(-0.0, 0.0)
    assert not goal.better(0.0, -0.0)
    assert merit(None, direction) == -INF


def test_only_trials_that_failed_or_were_cancelled_lose_their_result() -> None:
    assert {"failed", "cancelled"} == WITHOUT_RESULT
    for state, value in product(TRIAL_MOVES, (*FINITE, *NO_NUMBER)):
        assert has_result(state, value) == (state not in ("failed", "cancelled") and value in FINITE)


def test_trials_are_ranked_by_result_then_objective_then_number() -> None:
    rows = [
        ("succeeded", 0.5, 7),
        ("cancelled", 0.1, 0),
        ("pruned", 0.2, 5),
        ("running", 0.5, 2),
        ("failed", 0.0, 3),
        ("succeeded", NAN, 6),
        ("succeeded", -INF, 4),
        ("waiting", None, 1),
    ]
    best_first = sorted(rows, key=lambda row: rank_key(*row, "minimize"))
    assert [number for _, _, number in best_first] == [5, 2, 7, 0, 1, 3, 4, 6]
    best_first = sorted(rows, key=lambda row: rank_key(*row, "maximize"))
    assert [number for _, _, number in best_first] == [2, 7, 5, 0, 1, 3, 4, 6]
