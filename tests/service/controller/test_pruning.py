"""Pruning rules on tables of curves: which trials are pruned and which are kept, in both directions."""

from __future__ import annotations

import pytest

from service.controller.pruning import asha, below_median, extend_to_target, to_prune
from workers.spec.sweep import EarlyStoppingSpec
from workers.spec.trial import Objective

UP = Objective(metric="val/accuracy", direction="maximize")
DOWN = Objective(metric="val/loss", direction="minimize")


def at(step: int, *values: float) -> dict[str, list[tuple[int, float]]]:
    return {f"t{i}": [(step, value)] for i, value in enumerate(values)}


def test_asha_keeps_the_best_third_of_a_rung() -> None:
    curves = at(10, 0.1, 0.9, 0.5, 0.2, 0.8, 0.3)
    assert asha(curves, set(curves), UP, first=10, reduction=3, steps=100).keys() == {"t0", "t2", "t3", "t5"}


def test_asha_turns_with_the_direction() -> None:
    curves = at(10, 0.1, 0.9, 0.5)
    assert asha(curves, set(curves), DOWN, first=10, reduction=3, steps=100).keys() == {"t1", "t2"}
    assert asha(curves, set(curves), UP, first=10, reduction=3, steps=100).keys() == {"t0", "t2"}


def test_asha_waits_for_enough_trials_at_a_rung() -> None:
    curves = at(10, 0.1, 0.9)
    assert asha(curves, set(curves), UP, first=10, reduction=3, steps=100) == {}


def test_asha_leaves_trials_below_the_first_rung_alone() -> None:
    curves = at(9, 0.1, 0.9, 0.5)
    assert asha(curves, set(curves), UP, first=10, reduction=3, steps=100) == {}


def test_asha_judges_at_the_highest_rung_reached() -> None:
    curves = at(10, 0.5, 0.6, 0.7)
    curves["t0"].append((30, 0.9))
    assert asha(curves, set(curves), UP, first=10, reduction=3, steps=100).keys() == {"t1"}


def test_asha_ranks_by_the_best_so_far_at_the_rung_and_by_nothing_later() -> None:
    curves = {
        "early": [(5, 0.9), (10, 0.1)],
        "late": [(5, 0.1), (10, 0.2), (20, 0.95)],
        "middle": [(5, 0.1), (10, 0.5)],
    }
    assert asha(curves, set(curves), UP, first=10, reduction=3, steps=25).keys() == {"late", "middle"}


def test_asha_never_prunes_what_has_done_all_its_steps() -> None:
    curves = {**at(10, 0.1, 0.9, 0.5), "t0": [(10, 0.1), (25, 0.1)]}
    assert "t0" not in asha(curves, set(curves), UP, first=10, reduction=3, steps=25)


def test_asha_keeps_equals() -> None:
    curves = at(10, 0.5, 0.5, 0.5)
    assert asha(curves, set(curves), UP, first=10, reduction=3, steps=100) == {}


def test_asha_counts_ended_trials_as_peers_and_prunes_only_running_ones() -> None:
    curves = at(10, 0.1, 0.9, 0.5)
    assert asha(curves, {"t0"}, UP, first=10, reduction=3, steps=100).keys() == {"t0"}


def test_median_prunes_what_is_worse_than_the_middle() -> None:
    curves = at(10, 0.1, 0.5, 0.6, 0.7)
    found = below_median(curves, set(curves), UP, first=10, steps=100)
    assert found.keys() == {"t0", "t1"}
    assert below_median(curves, set(curves), DOWN, first=10, steps=100).keys() == {"t2", "t3"}


def test_median_compares_the_best_so_far_with_averages() -> None:
    curves = at(20, 0.5, 0.6, 0.7)
    curves["dip"] = [(10, 0.65), (20, 0.1)]
    assert below_median(curves, {"dip"}, UP, first=10, steps=100) == {}


@pytest.mark.parametrize("step", [9, 100])
def test_median_leaves_the_first_and_the_last_steps_alone(step: int) -> None:
    curves = at(step, 0.1, 0.5, 0.6, 0.7)
    assert below_median(curves, set(curves), UP, first=10, steps=100) == {}


def test_median_needs_three_peers_at_the_step() -> None:
    curves = at(20, 0.5, 0.6)
    curves |= {"slow": [(10, 0.9)], "last": [(20, 0.1)]}
    assert below_median(curves, {"last"}, UP, first=10, steps=100) == {}


def test_rules_are_chosen_by_kind_with_an_eighth_of_the_steps_as_default() -> None:
    curves = at(12, 0.1, 0.9, 0.5, 0.6)
    running = dict.fromkeys(curves, 96)
    assert to_prune(EarlyStoppingSpec(kind="none"), UP, curves, running) == {}
    assert to_prune(EarlyStoppingSpec(kind="asha"), UP, curves, running).keys() == {"t0", "t2", "t3"}
    assert to_prune(EarlyStoppingSpec(kind="median"), UP, curves, running).keys() == {"t0", "t2"}
    assert to_prune(EarlyStoppingSpec(kind="asha", min_steps=13), UP, curves, running) == {}


def test_the_reason_names_metric_step_and_rule() -> None:
    reason = to_prune(EarlyStoppingSpec(kind="asha"), UP, at(12, 0.1, 0.9, 0.5), {"t0": 96})["t0"]
    assert "val/accuracy 0.1 at step 12" in reason
    assert "asha" in reason


def test_asha_does_not_count_above_what_was_ended_below() -> None:
    """t3 had reached the second rung before the command to end it arrived; it must not push others out there."""
    curves = {
        "t0": [(10, 0.5), (20, 0.4)],
        "t1": [(10, 0.6), (20, 0.35)],
        "t2": [(10, 0.9)],
        "t3": [(10, 0.8), (20, 0.1)],
    }
    assert asha(curves, {"t0", "t1"}, DOWN, first=10, reduction=2, steps=100).keys() == {"t0"}
    assert asha(curves, {"t0", "t1", "t3"}, DOWN, first=10, reduction=2, steps=100).keys() == {"t0", "t1"}


def test_a_trial_that_ended_at_its_target_counts_at_every_later_rung() -> None:
    curves = {"aimed": [(10, 0.1), (20, 0.95)], **at(30, 0.8, 0.7), "t2": [(30, 0.6)]}
    running = {"t0", "t1", "t2"}
    assert asha(curves, running, UP, first=10, reduction=3, steps=100).keys() == {"t1", "t2"}
    extended = extend_to_target(curves, {"aimed": 100})
    assert extended["aimed"] == [(10, 0.1), (20, 0.95), (100, 0.95)]
    assert asha(extended, running, UP, first=10, reduction=3, steps=100).keys() == running


def test_curves_of_trials_that_did_all_their_steps_stay_as_they_are() -> None:
    curves = {"whole": [(50, 0.1), (100, 0.2)], "other": [(100, 0.3)]}
    assert extend_to_target(curves, {"whole": 100, "silent": 100}) == curves
