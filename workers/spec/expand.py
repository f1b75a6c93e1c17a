"""From a search space to trials: its size, its grid, its random draws (neither torch nor numpy's generators)."""

from __future__ import annotations

import math
import random
from contextlib import suppress
from itertools import islice, product
from typing import Any

from pydantic import ValidationError

from workers.spec.model import ModelSpec
from workers.spec.search_space import Dimension, Range, Scalar, Values
from workers.spec.sweep import RECOMPUTING, Objective, SweepSpec, TrainingSpec, TrialSpec
from workers.tasks import Task

Params = dict[str, Scalar]


def grid_values(dimension: Dimension) -> list[Scalar]:
    """The points of one dimension in a grid; a range of whole numbers without ``grid`` takes every one."""
    if isinstance(dimension, Values):
        return list(dimension.values)
    count = dimension.grid
    if count is None:
        return list(range(int(dimension.low), int(dimension.high) + 1))
    if count == 1:
        return [dimension.low]
    points = [_between(dimension, i / (count - 1)) for i in range(count)]
    return list(dict.fromkeys(points))


def grid_size(space: dict[str, Dimension]) -> int:
    """How many points the grid has, without listing its points."""
    size = 1
    for dimension in space.values():
        if isinstance(dimension, Values):
            size *= len(dimension.values)
        elif dimension.grid is not None:
            size *= len(grid_values(dimension))  # points may fall together
        else:
            size *= int(dimension.high) - int(dimension.low) + 1
    return size


def grid(space: dict[str, Dimension], limit: int | None = None) -> list[Params]:
    """Every point, the last dimension fastest."""
    points = product(*(grid_values(d) for d in space.values()))
    return [dict(zip(space, point, strict=True)) for point in islice(points, limit)]


def draw(space: dict[str, Dimension], seed: int, number: int) -> Params:
    """The random point of trial ``number``: a function of (seed, number) alone, whatever was drawn before."""
    rng = random.Random(f"{seed}:{number}")
    return {name: _draw(dimension, rng) for name, dimension in space.items()}


def _draw(dimension: Dimension, rng: random.Random) -> Scalar:
    if isinstance(dimension, Values):
        return rng.choice(dimension.values)
    if dimension.whole and not dimension.log:
        return rng.randint(int(dimension.low), int(dimension.high))
    return _between(dimension, rng.random())


def _between(dimension: Range, fraction: float) -> int | float:
    low, high = dimension.low, dimension.high
    if fraction in (0.0, 1.0):
        return high if fraction else low
    if dimension.log:
        value = math.exp(math.log(low) + fraction * (math.log(high) - math.log(low)))
    else:
        value = low + fraction * (high - low)
    return min(max(round(value), int(low)), int(high)) if dimension.whole else float(f"{value:.12g}")


def params_of(sweep: SweepSpec) -> list[Params]:
    """The coordinates of every trial of the sweep, in order."""
    if sweep.search.sampler == "grid":
        return grid(sweep.space)
    return [draw(sweep.space, sweep.search.seed, number) for number in range(sweep.search.trials or 0)]


def resolve(sweep: SweepSpec, number: int, params: Params) -> TrialSpec:
    """The trial at ``params``; raises pydantic's ValidationError where they do not go together.

    With ``model.kind``, ``training.optimizer`` or ``training.schedule`` in the space, fields that another choice needs
    are dropped for this one.
    """
    parts: dict[str, dict[str, Any]] = {
        "model": sweep.model.model_dump(exclude_unset=True),
        "training": sweep.training.model_dump(exclude_unset=True),
    }
    for path, value in params.items():
        part, field = path.split(".")
        if part != "task":
            parts[part][field] = value
    if "model.kind" in params:
        kind = params["model.kind"]
        model = parts["model"]
        for field, kinds in ModelSpec.APPLIES.items():
            if kind not in kinds:
                model.pop(field, None)
        if kind not in RECOMPUTING:
            parts["training"].pop("recompute_every", None)
    for field, (chooser, kinds) in TrainingSpec.APPLIES.items():
        if f"training.{chooser}" in params and params[f"training.{chooser}"] not in kinds:
            parts["training"].pop(field, None)
    return TrialSpec.model_validate(
        {"number": number, "params": params, "task": task_at(sweep, params), "objective": objective(sweep), **parts}
    )


def task_at(sweep: SweepSpec, params: Params) -> Task | dict[str, Any]:
    """The sweep's task, or its document with the values of ``params``, still to be checked."""
    own = {path.removeprefix("task."): value for path, value in params.items() if path.startswith("task.")}
    return sweep.task.model_dump() | own if own else sweep.task


def tasks_of(sweep: SweepSpec) -> list[Task]:
    """The sweep's task and the different ones of its trials, but for those that ``resolve`` would refuse."""
    found: list[Task] = [sweep.task]
    if not any(path.startswith("task.") for path in sweep.space):
        return found
    points = {
        tuple((path, value) for path, value in params.items() if path.startswith("task.")): None
        for params in params_of(sweep)
    }
    for point in points:
        with suppress(ValidationError):
            found.append(type(sweep.task).model_validate(task_at(sweep, dict(point))))
    return found


def objective(sweep: SweepSpec) -> Objective:
    """The sweep's objective with the task's own defaults filled in."""
    metrics = sweep.task.metrics
    metric = sweep.objective.metric or ("val/accuracy" if "accuracy" in metrics else "val/loss")
    return Objective(metric=metric, direction=sweep.objective.direction or metrics[metric.removeprefix("val/")])
