"""Applying a sweep's pruning rule: by its kind, by the steps of each trial, and with trials that ended early."""

from __future__ import annotations

from typing import Any

from service.controller.pruning import extend_to_target, to_prune, to_prune_points
from workers.spec.pruning_rules import Curve
from workers.spec.sweep import EarlyStoppingSpec
from workers.spec.trial import Objective

UP = Objective(metric="val/accuracy", direction="maximize")


def at(step: int, *values: float) -> dict[int, Curve]:
    return {i: [(step, value)] for i, value in enumerate(values)}


def test_rules_are_chosen_by_kind_with_an_eighth_of_the_steps_as_default() -> None:
    curves = at(12, 0.1, 0.9, 0.5, 0.6)
    running = dict.fromkeys(curves, 96)
    assert to_prune(EarlyStoppingSpec(kind="none"), UP, curves, running) == {}
    assert to_prune(EarlyStoppingSpec(kind="asha"), UP, curves, running).keys() == {0, 2, 3}
    assert to_prune(EarlyStoppingSpec(kind="median"), UP, curves, running).keys() == {0, 2}
    assert to_prune(EarlyStoppingSpec(kind="threshold", threshold=0.5), UP, curves, running).keys() == {0}
    assert to_prune(EarlyStoppingSpec(kind="asha", min_steps=13), UP, curves, running) == {}


def test_trials_are_judged_by_the_rungs_of_their_own_steps() -> None:
    curves = at(12, 0.1, 0.9, 0.5, 0.6)
    running = {0: 96, 2: 104}
    assert to_prune(EarlyStoppingSpec(kind="asha"), UP, curves, running).keys() == {0}
    assert to_prune(EarlyStoppingSpec(kind="asha"), UP, curves, {0: 12, 2: 96}).keys() == {2}


def test_the_reason_names_metric_step_and_rule() -> None:
    reason = to_prune(EarlyStoppingSpec(kind="asha"), UP, at(12, 0.1, 0.9, 0.5), {0: 96})[0]
    assert "val/accuracy 0.1 at step 12" in reason
    assert "asha" in reason


def test_a_trial_that_ended_at_its_target_counts_at_every_later_rung() -> None:
    aimed = 9
    curves = {aimed: [(10, 0.1), (20, 0.95)], **at(30, 0.8, 0.7, 0.6)}
    running = dict.fromkeys((0, 1, 2), 100)
    rule = EarlyStoppingSpec(kind="asha", min_steps=10)
    assert to_prune(rule, UP, curves, running).keys() == {1, 2}
    extended = extend_to_target(curves, {aimed: 100})
    assert extended[aimed] == [(10, 0.1), (20, 0.95), (100, 0.95)]
    assert to_prune(rule, UP, extended, running).keys() == set(running)


def test_curves_of_trials_that_did_all_their_steps_stay_as_they_are() -> None:
    curves = {0: [(50, 0.1), (100, 0.2)], 1: [(100, 0.3)]}
    assert extend_to_target(curves, {0: 100, 2: 100}) == curves


def judged(curves: dict[int, Curve], running: set[int], **changes: Any) -> dict[int, str]:
    """Return which trials of points with two repeats each asha ends, with a rung at step 12 of 96."""
    rule = EarlyStoppingSpec(kind="asha", reduction=2)
    return to_prune_points(rule, UP, curves, dict.fromkeys(running, 96), 2, "mean", **changes)


def test_a_point_is_judged_by_the_mean_of_its_repeats_and_ends_as_a_whole() -> None:
    # the points have the means 0.5, 0.4, 0.6 and 0.3; the best single trial is one of point 1
    curves = at(12, 0.5, 0.5, 0.0, 0.8, 0.6, 0.6, 0.3, 0.3)
    found = judged(curves, set(range(8)))
    assert found.keys() == {2, 3, 6, 7}
    assert found[2].startswith("mean of 2 repeats: val/accuracy 0.4 at step 12")
    assert judged(curves, {0, 1, 3, 4, 5}).keys() == {3}


def test_a_point_is_not_judged_before_each_of_its_repeats_has_come_as_far() -> None:
    curves = at(12, 0.5, 0.5, 0.1, 0.1) | {3: [(6, 0.1)]}
    assert judged(curves, {0, 1, 2, 3}) == {}
    assert judged({trial: curve for trial, curve in curves.items() if trial != 3}, {0, 1, 2}) == {}
    assert judged(curves, {0, 1, 2}, left_out={3}).keys() == {2}
    assert judged(curves, {0, 1, 2}, final={3}).keys() == {2}


def test_what_was_decided_for_one_repeat_holds_for_the_others_whatever_is_reported_later() -> None:
    curves = at(12, 0.5, 0.5, 0.9, 0.9)
    assert judged(curves, {2, 3}) == {}
    assert judged(curves, {2, 3}, decided={3: "poor"}) == {2: "poor", 3: "poor"}
    assert judged(curves, {0, 2}, decided={3: "poor"}) == {0: judged(curves, {0})[0], 2: "poor"}


def test_with_one_repeat_a_point_is_a_trial() -> None:
    curves = at(12, 0.1, 0.9, 0.5, 0.6)
    running = dict.fromkeys(curves, 96)
    rule = EarlyStoppingSpec(kind="asha")
    assert to_prune_points(rule, UP, curves, running, 1, "mean") == to_prune(rule, UP, curves, running)
    assert to_prune_points(rule, UP, curves, running, 1, "mean", decided={1: "x"})[1] == "x"
    assert to_prune_points(EarlyStoppingSpec(), UP, curves, running, 1, "mean", decided={1: "x"}) == {}
