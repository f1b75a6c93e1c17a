"""What is wrong with the early stopping of a sweep that is submitted: options of other rules, and rules without effect.

Documents that are stored are not checked again: earlier releases accepted what is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from workers.errors import FieldError
from workers.spec.expand import objective
from workers.spec.pruning_rules import PRUNING_RULES
from workers.spec.search_space import Values
from workers.spec.sweep import SweepSpec
from workers.spec.training import TrainingSpec

MAX_TRAININGS = 10_000
"""How many combinations of swept steps and intervals between reports are examined. A sweep with more is not refused."""
DEFAULT_REDUCTION = 3
"""The reduction that earlier releases stored for every kind. A shown document can be submitted again."""


def early_stopping_errors(sweep: SweepSpec) -> Iterator[FieldError]:
    """Yield what is wrong with ``early_stopping``.

    That is each option which does not belong to the kind; or else, if the rule could end no trial of the sweep, why: a
    trial reports only at its end, or no report lies between ``min_steps`` and its end, or the rule needs more reports.
    The space must have been checked before.
    """
    rule = sweep.early_stopping
    misplaced = [name for name in rule.misplaced if (name, getattr(rule, name)) != ("reduction", DEFAULT_REDUCTION)]
    for name in misplaced:
        yield FieldError(f"early_stopping.{name}", getattr(rule, name), *rule.why_misplaced(name))
    if misplaced or rule.kind == "none":
        return
    problems = [
        PRUNING_RULES[rule.kind](rule, objective(sweep), steps).useless(interval)
        for steps, interval in islice(_trainings(sweep), MAX_TRAININGS)
    ]
    if problems[0] is not None and all(problems) and len(problems) < MAX_TRAININGS:
        yield problems[0]


def _trainings(sweep: SweepSpec) -> Iterator[tuple[int, int]]:
    """Yield the numbers of steps, and the steps between reports, that trials of the sweep can have.

    Of a range, these are its two ends.
    """
    for steps in _values(sweep, "steps"):
        for every in _values(sweep, "report_every"):
            training = TrainingSpec.model_construct(steps=steps, report_every=every)
            yield training.steps, training.report_interval


def _values(sweep: SweepSpec, field: str) -> list[Any]:
    dimension = sweep.space.get(f"training.{field}")
    if dimension is None:
        return [getattr(sweep.training, field)]
    found = [*dimension.values] if isinstance(dimension, Values) else [dimension.high, dimension.low]
    # where its condition does not hold, the field keeps the value of the document
    return [*found, getattr(sweep.training, field)] if dimension.when else found
