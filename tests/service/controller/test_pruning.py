"""Applying a sweep's pruning rule: by its kind, by the steps of each trial, and with trials that ended early."""

from __future__ import annotations

from service.controller.pruning import extend_to_target, to_prune
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
