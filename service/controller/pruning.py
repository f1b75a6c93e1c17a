"""Applying a sweep's pruning rule to its running trials. Pure functions of the reported metrics.

The rules themselves are in ``workers.spec.pruning_rules``. Nothing keeps memory, so that a new controller decides as
the last one did. A trial that is kept now may be pruned later, when better peers have reached its rung.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from workers.spec.pruning_rules import PRUNING_RULES, Curve
from workers.spec.repeats import Statistic, point_curves
from workers.spec.sweep import EarlyStoppingSpec
from workers.spec.trial import Objective


def to_prune(
    options: EarlyStoppingSpec, objective: Objective, curves: Mapping[int, Curve], running: Mapping[int, int]
) -> dict[int, str]:
    """Return why each trial that is to be pruned now is pruned, by the trial's number; empty if the rule is ``none``.

    Args:
        options: The sweep's early stopping: the rule and its options.
        objective: The metric, and whether a small or a large value is better.
        curves: The curves of all trials of the sweep that have one, by the trial's number.
        running: The target number of steps of each trial that may be pruned, by the trial's number. The rungs follow
            from it, so the trials of each target are judged in a group of their own, against the curves of all trials.
    """
    if options.kind == "none":
        return {}
    found: dict[int, str] = {}
    for steps in sorted(set(running.values())):
        group = {trial for trial, length in running.items() if length == steps}
        found |= PRUNING_RULES[options.kind](options, objective, steps).to_prune(curves, group)
    return found


def extend_to_target(curves: Mapping[int, Curve], succeeded: Mapping[int, int]) -> dict[int, Curve]:
    """Return the curves, with those of succeeded trials continued at their last value to their target step.

    A succeeded trial that has no curve, or has reached its target step, is left as it is.

    A trial that reaches ``training.target`` ends early. Without the extension its peers would be compared, at later
    steps, with the worse trials alone.

    Args:
        curves: The curves by the trial's number.
        succeeded: The target numbers of steps of the succeeded trials, by the trial's number.
    """
    extended = {
        trial: curves[trial] + [(steps, curves[trial][-1][1])]
        for trial, steps in succeeded.items()
        if trial in curves and curves[trial][-1][0] < steps
    }
    return {**curves, **extended}


def to_prune_points(
    options: EarlyStoppingSpec,
    objective: Objective,
    curves: Mapping[int, Curve],
    running: Mapping[int, int],
    repeats: int,
    statistic: Statistic,
    left_out: Set[int] = frozenset(),
    final: Set[int] = frozenset(),
    decided: Mapping[int, str] | None = None,
) -> dict[int, str]:
    """Return why each trial of a point that is pruned now is pruned, by the trial's number; with one repeat per trial.

    The rule judges points: the statistic over the trials of a point, at the steps that all of them have reported. What
    it decides ends every trial of the point.

    Args:
        options: As for ``to_prune``.
        objective: As for ``to_prune``.
        curves: As for ``to_prune``.
        running: As for ``to_prune``.
        repeats: How many trials each point has.
        statistic: What the values of a point are made by.
        left_out: The trials that have failed or were cancelled, which do not count.
        final: The trials that have succeeded, whose last value stands at later steps.
        decided: Why the rule has ended a trial before, by the trial's number. The others of its point follow.
    """
    if options.kind == "none":
        return {}
    ended = {trial // repeats: reason for trial, reason in (decided or {}).items()}
    found = {trial: ended[trial // repeats] for trial in running if trial // repeats in ended}
    open_points = {trial // repeats: steps for trial, steps in running.items() if trial not in found}
    if repeats > 1:
        curves = point_curves(curves, left_out, final, repeats, statistic)
    judged = to_prune(options, objective, curves, open_points)
    what = "" if repeats == 1 else f"{statistic} of {repeats} repeats: "
    return found | {t: what + judged[t // repeats] for t in running if t // repeats in judged}
