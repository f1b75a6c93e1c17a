"""Which running trials do worse than their peers: pure functions of the report table.

A curve is what a trial reported of the objective, (step, value) in order of step. The functions look at the table as
it stands and keep no memory, so they say the same after a crash, and a trial kept today may go tomorrow when better
peers have come to its rung.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from itertools import takewhile
from statistics import fmean, median

from service.store.reports import Curve
from workers.spec.sweep import EarlyStoppingSpec
from workers.spec.trial import Objective

MIN_PEERS = 3
"""The median of fewer says nothing."""


def to_prune(
    rule: EarlyStoppingSpec, objective: Objective, curves: Mapping[str, Curve], running: Mapping[str, int]
) -> dict[str, str]:
    """Trials to end now, each with the reason. ``running`` maps the trials in question to their number of steps."""
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


def to_their_ends(curves: Mapping[str, Curve], succeeded: Mapping[str, int]) -> dict[str, Curve]:
    """The curves, those of ``succeeded`` trials (by their number of steps) drawn on at their last value.

    A trial that ended at its target stands beside its peers at every later step too: else they would be judged by the
    worse of them alone.
    """
    longer = {t: curves[t] + [(steps, curves[t][-1][1])] for t, steps in succeeded.items()
              if t in curves and curves[t][-1][0] < steps}  # fmt: skip
    return {**curves, **longer}


def asha(
    curves: Mapping[str, Curve], running: Set[str], objective: Objective, *, first: int, reduction: int, steps: int
) -> dict[str, str]:
    """Asynchronous successive halving (Li et al. 2020), the stopping form.

    Rungs are at ``first * reduction^k`` below ``steps``. Of the trials that have come to a rung the best
    1/``reduction`` go on; a trial is judged at the highest rung it has come to. One that was ended for a rung is not
    counted at those above, though it may have come to them before word of its end reached it.
    """
    rungs = list(takewhile(lambda rung: rung < steps, (first * reduction**k for k in range(64))))
    found: dict[str, str] = {}
    fallen: set[str] = set()
    for position, rung in enumerate(rungs):
        come = {t: _best_at(curve, rung, objective) for t, curve in curves.items() if t not in fallen}
        standing = {t: value for t, value in come.items() if value is not None}
        keep = len(standing) // reduction
        if not keep:
            continue
        order = sorted(standing.values(), reverse=objective.direction == "maximize")
        fallen |= {
            trial
            for trial in standing.keys() - running
            if objective.better(order[keep - 1], standing[trial]) and not _finished(curves[trial], steps)
        }
        for trial in running & standing.keys():
            above = position + 1 < len(rungs) and _best_at(curves[trial], rungs[position + 1], objective) is not None
            if not above and objective.better(order[keep - 1], standing[trial]) and not _finished(curves[trial], steps):
                found[trial] = (
                    f"{objective.metric} {standing[trial]:.6g} at step {rung} is not among the best {keep} of "
                    f"{len(standing)} there (asha, cut at {order[keep - 1]:.6g})"
                )
    return found


def below_median(
    curves: Mapping[str, Curve], running: Set[str], objective: Objective, *, first: int, steps: int
) -> dict[str, str]:
    """The median rule (Golovin et al. 2017): the best so far is worse than the median of the peers' averages so far."""
    found: dict[str, str] = {}
    for trial in running:
        curve = curves.get(trial)
        if not curve or curve[-1][0] < first or _finished(curve, steps):
            continue
        step = curve[-1][0]
        peers = [_average(other, step) for name, other in curves.items() if name != trial and other[-1][0] >= step]
        if len(peers) < MIN_PEERS:
            continue
        middle, mine = median(peers), _best([value for _, value in curve], objective)
        if objective.better(middle, mine):
            found[trial] = (
                f"best {objective.metric} {mine:.6g} by step {step} is worse than {middle:.6g}, the median of "
                f"{len(peers)} peers (median rule)"
            )
    return found


def _finished(curve: Curve, steps: int) -> bool:
    return curve[-1][0] >= steps


def _best_at(curve: Curve, rung: int, objective: Objective) -> float | None:
    """The best value up to the first report at or past the rung; None for a trial that has not come to it."""
    values = []
    for step, value in curve:
        values.append(value)
        if step >= rung:
            return _best(values, objective)
    return None


def _best(values: list[float], objective: Objective) -> float:
    return max(values) if objective.direction == "maximize" else min(values)


def _average(curve: Curve, step: int) -> float:
    """The average up to a step; of the first report where none is that early."""
    return fmean([value for at, value in curve if at <= step] or [curve[0][1]])
