"""The values of all objectives of each trial, of which those beside the first are measured at its best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from service.report.record import SECONDS, SweepRecord, TrialRow
from workers.spec.expand import task_at
from workers.spec.parameter_count import count_parameters
from workers.spec.sweep import SweepSpec
from workers.tasks import Task


def objective_values(record: SweepRecord) -> list[tuple[TrialRow, tuple[float, ...]]]:
    """Return the trials that have a finite value of every objective, by number, each with these values.

    A trial without a result has none.
    """
    counter = ParameterCounter(record.spec) if record.spec else None
    found = []
    for row in record.rows:
        if not row.has_result:
            continue
        values = [row.value]
        for objective in record.objectives[1:]:
            value = value_of(objective.metric, row, counter)
            if value is None or not math.isfinite(value):
                break
            values.append(float(value))
        else:
            found.append((row, tuple(values)))
    return found


def value_of(metric: str, row: TrialRow, counter: ParameterCounter | None) -> float | None:
    """Return a trial's value of a further objective; None if it is not known, as ``parameters`` without a counter."""
    if metric == "parameters":
        return counter.count(row.params) if counter else None
    return row.at_best.get(SECONDS if metric == "seconds" else metric)


class ParameterCounter:
    """Counts the parameters of the networks of a sweep's trials, each kind of network once."""

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec
        self._tasks: dict[tuple[Any, ...], Task | None] = {}
        self._counts: dict[tuple[Any, ...], int | None] = {}

    def count(self, params: Mapping[str, Any]) -> int | None:
        """Return the number of trainable parameters of the trial with these values; None if its task is invalid."""
        own = tuple((path, value) for path, value in params.items() if path.startswith("task."))
        if own not in self._tasks:
            self._tasks[own] = self._task(params)
        # margins and the like change no count, but are as many as trials
        swept = {path[6:]: value for path, value in params.items() if path.startswith("model.")}
        key = (own, *((name, value) for name, value in swept.items() if name not in ("margin", "sigma")))
        if key not in self._counts:
            task = self._tasks[own]
            model = self._spec.model.model_copy(update=swept)
            self._counts[key] = None if task is None else count_parameters(model, task).total
        return self._counts[key]

    def _task(self, params: Mapping[str, Any]) -> Task | None:
        found = task_at(self._spec, params)
        try:
            return type(self._spec.task).model_validate(found) if isinstance(found, dict) else found
        except ValidationError:
            return None
