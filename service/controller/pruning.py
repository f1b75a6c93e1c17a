"""Pruning rules: which running trials do worse than their peers. Pure functions of the reported metrics.

A curve is the objective that a trial has reported, as (step, value) pairs in order of step, at least one. The functions
keep no memory, so that a new controller decides as the last one did. A trial that is kept now may be pruned later, when
better peers have reached its rung.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from itertools import takewhile
from statistics import fmean, median

from service.store.reports import Curve
from workers.spec.sweep import EarlyStoppingSpec
from workers.spec.trial import Objective

MIN_PEERS = 3
"""The median rule prunes a trial only if at least this many other trials have reached its step."""


def to_prune(
    rule: EarlyStoppingSpec, objective: Objective, curves: Mapping[str, Curve], running: Mapping[str, int]
) -> dict[str, str]:
    """Return why each trial that is to be pruned now is pruned, by the trial's id; empty if the rule is ``none``.

    Args:
        rule: The sweep's early stopping: ``none``, ``asha`` or ``median``, and its parameters.
        objective: The metric, and whether a small or a large value is better.
        curves: The curves of all trials of the sweep that have one, by the trial's id.
        running: The target number of steps of each trial that may be pruned, by the trial's id. The rungs follow from
            it, so the trials of each target are judged in a group of their own, against the curves of all trials.
    """
    if rule.kind == "none":
        return {}
    found: dict[str, str] = {}
    for steps in set(running.values()):
        peers = {trial for trial, length in running.items() if length == steps}
        first = rule.min_steps or max(1, steps // 8)
        if rule.kind == "asha":
            found |= asha(curves, peers, objective, first=first, reduction=rule.reduction, steps=steps)
        else:
            found |= below_median(curves, peers, objective, first=first, steps=steps)
    return found


def extend_to_target(curves: Mapping[str, Curve], succeeded: Mapping[str, int]) -> dict[str, Curve]:
    """Return the curves, with those of succeeded trials continued at their last value to their target step.

    A succeeded trial that has no curve, or has reached its target step, is left as it is.

    A trial that reaches ``training.target`` ends early. Without the extension its peers would be compared, at later
    steps, with the worse trials alone.

    Args:
        curves: The curves by the trial's id.
        succeeded: The target numbers of steps of the succeeded trials, by the trial's id.
    """
    extended = {
        trial: curves[trial] + [(steps, curves[trial][-1][1])]
        for trial, steps in succeeded.items()
        if trial in curves and curves[trial][-1][0] < steps
    }
    return {**curves, **extended}


def asha(
    curves: Mapping[str, Curve], running: Set[str], objective: Objective, *, first: int, reduction: int, steps: int
) -> dict[str, str]:
    """Prune by asynchronous successive halving in its stopping form (Li et al. 2020).

    The rungs are the steps ``first * reduction**k`` below ``steps``. Of the n trials that have reached a rung, the
    best n // ``reduction`` go on, and all that equal the last of these; all go on if n is below ``reduction``. A trial
    is judged at the highest rung that it has reached, and never once it has reached ``steps``. A trial that was pruned
    at a rung does not count at the rungs above, which it may have reached before the command to end arrived.

    Args:
        curves: The curves by the trial's id.
        running: The trials that may be pruned; the others count as peers alone.
        objective: The metric, and whether a small or a large value is better.
        first: The step of the lowest rung, at least 1.
        reduction: The inverse of the share of trials that pass a rung, at least 2.
        steps: The target number of steps.

    Returns:
        The trials to prune, each with the reason.
    """
    rungs = list(takewhile(lambda rung: rung < steps, (first * reduction**k for k in range(64))))
    found: dict[str, str] = {}
    pruned: set[str] = set()
    for position, rung in enumerate(rungs):
        reached = {t: _best_at(curve, rung, objective) for t, curve in curves.items() if t not in pruned}
        values = {t: value for t, value in reached.items() if value is not None}
        # too few trials have reached the rung to tell which ones are the best
        keep = len(values) // reduction
        if not keep:
            continue
        cut = sorted(values.values(), reverse=objective.direction == "maximize")[keep - 1]
        below = {t for t, value in values.items() if objective.better(cut, value) and not _finished(curves[t], steps)}
        # a trial that has ended below the cut was pruned here, whatever it has reported since
        pruned |= below - running
        for trial in sorted(below & running):
            # a trial that has reached the next rung is judged there
            if position + 1 < len(rungs) and _best_at(curves[trial], rungs[position + 1], objective) is not None:
                continue
            found[trial] = (
                f"{objective.metric} {values[trial]:.6g} at step {rung} is not among the best {keep} of "
                f"{len(values)} there (asha, cut at {cut:.6g})"
            )
    return found


def below_median(
    curves: Mapping[str, Curve], running: Set[str], objective: Objective, *, first: int, steps: int
) -> dict[str, str]:
    """Prune by the median rule (Golovin et al. 2017).

    A trial is pruned if its best value so far is worse than the median of its peers' averages up to the same step. Its
    peers are the other trials that have reached this step, at least ``MIN_PEERS``. A trial that has reached ``steps``
    is never pruned.

    Args:
        curves: The curves by the trial's id.
        running: The trials that may be pruned; the others count as peers alone.
        objective: The metric, and whether a small or a large value is better.
        first: The first step at which a trial may be pruned.
        steps: The target number of steps.

    Returns:
        The trials to prune, each with the reason.
    """
    found: dict[str, str] = {}
    for trial in running:
        curve = curves.get(trial)
        if not curve or curve[-1][0] < first or _finished(curve, steps):
            continue
        step = curve[-1][0]
        peers = [_average(other, step) for name, other in curves.items() if name != trial and other[-1][0] >= step]
        if len(peers) < MIN_PEERS:
            continue
        middle, own = median(peers), _best([value for _, value in curve], objective)
        if objective.better(middle, own):
            found[trial] = (
                f"best {objective.metric} {own:.6g} by step {step} is worse than {middle:.6g}, the median of "
                f"{len(peers)} peers (median rule)"
            )
    return found


def _finished(curve: Curve, steps: int) -> bool:
    return curve[-1][0] >= steps


def _best_at(curve: Curve, rung: int, objective: Objective) -> float | None:
    """Return the best value up to and including the first report at or past the rung; None if there is none."""
    values = []
    for step, value in curve:
        values.append(value)
        if step >= rung:
            return _best(values, objective)
    return None


def _best(values: list[float], objective: Objective) -> float:
    return max(values) if objective.direction == "maximize" else min(values)


def _average(curve: Curve, step: int) -> float:
    """Return the mean of the values up to and including a step; the first value if the curve begins later."""
    return fmean([value for at, value in curve if at <= step] or [curve[0][1]])
