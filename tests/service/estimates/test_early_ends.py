"""Which share of the trials is expected to be left after how many steps."""

from __future__ import annotations

from typing import Any

import pytest

from service.estimates.early_ends import EarlyEnds, Stretch
from tests.service.estimates.examples import seeds, sweep_of

TRAINING = {"steps": 80, "batch_size": 4, "report_every": 5, "lr": 0.01}


def ends(early_stopping: dict[str, Any], count: int = 9, **training: Any) -> tuple[EarlyEnds, Any]:
    spec, trials = sweep_of(space=seeds(count), early_stopping=early_stopping, training=TRAINING | training)
    return EarlyEnds(spec, len(trials)), spec.training


def test_halving_leaves_one_in_so_many_at_each_rung() -> None:
    rule, training = ends({"kind": "asha", "min_steps": 10, "reduction": 2})
    assert rule.foreseen
    assert rule.stretches(training, range(9)) == [
        Stretch(10, 1.0),
        Stretch(10, 0.5),
        Stretch(20, 0.25),
        Stretch(40, 0.125),
    ]


def test_a_rung_is_judged_at_the_first_report_after_it() -> None:
    rule, training = ends({"kind": "asha", "min_steps": 11, "reduction": 4})
    assert rule.stretches(training, range(9)) == [Stretch(15, 1.0), Stretch(30, 0.25), Stretch(35, 0.0625)]


def test_brackets_of_hyperband_begin_later() -> None:
    rule, training = ends({"kind": "hyperband", "min_steps": 20, "reduction": 2, "brackets": 2}, count=30)
    stretches = rule.stretches(training, range(30))
    assert [steps for steps, _ in stretches] == [20, 20, 40]
    # by the shares of the paper each of two brackets has half of the trials
    assert stretches[1].share == pytest.approx((0.5 + 1) / 2, abs=0.05)
    assert stretches[2].share == pytest.approx((0.25 + 0.5) / 2, abs=0.05)


def test_too_few_trials_are_never_halved() -> None:
    rule, training = ends({"kind": "asha", "min_steps": 10, "reduction": 4}, count=3)
    assert rule.stretches(training, range(3)) == [Stretch(80, 1.0)]


def test_what_depends_on_results_is_expected_to_end_nothing() -> None:
    for options in ({"kind": "median", "min_steps": 12}, {"kind": "threshold", "threshold": 1.0, "min_steps": 12}):
        rule, training = ends(options)
        assert (rule.possible, rule.foreseen) == (True, False)
        assert rule.stretches(training, range(9)) == [Stretch(80, 1.0)]
        assert rule.least(training) == 15
    rule, training = ends({"kind": "none"}, target=0.5)
    assert (rule.possible, rule.least(training)) == (True, 5)
    rule, training = ends({"kind": "none"})
    assert (rule.possible, rule.least(training)) == (False, 80)
