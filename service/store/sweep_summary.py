"""What lists and views need of a sweep's document, so that they never read the document itself.

It is stored with the sweep when it is submitted. A document that this version would no longer accept is still shown.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from workers.spec.advice import warnings
from workers.spec.data_warnings import data_warnings
from workers.spec.expand import objective, points_of, tasks_of, trial_count
from workers.spec.sweep import SweepSpec


class SweepFacts(NamedTuple):
    """What follows from a sweep's document.

    Attributes:
        metric: The metric by which trials are ranked.
        direction: ``minimize`` or ``maximize``.
        planned_steps: The steps of all trials, if none ends early.
        steps_vary: Whether ``training.steps`` is in the search space, so that trials have different numbers of steps.
        advice: The warnings as documents, by what they are about: ``data``, or ``values`` of the document.
    """

    metric: str
    direction: str
    planned_steps: int
    steps_vary: bool
    advice: dict[str, Any]


def facts_of(spec: SweepSpec) -> SweepFacts:
    """Return the facts of a valid sweep."""
    goal, vary = objective(spec), "training.steps" in spec.space
    if vary:
        steps = sum(int(params.get("training.steps", spec.training.steps)) for params in points_of(spec))
    else:
        steps = trial_count(spec) * spec.training.steps
    return SweepFacts(goal.metric, goal.direction, steps, vary, advice_on(spec))


def advice_on(spec: SweepSpec) -> dict[str, Any]:
    """Return the warnings about a sweep as documents, those about its data apart from those about its values."""
    data, every = data_warnings(spec, tasks_of(spec)), warnings(spec)
    return {"data": [w.as_dict() for w in data], "values": [w.as_dict() for w in every[len(data) :]]}
