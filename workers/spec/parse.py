"""The one door for a sweep from outside: JSON in, a ``SweepSpec`` whose every trial is valid out, or ``SpecError``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from workers.errors import FieldError, SpecError
from workers.spec.expand import Params, grid_size, params_of, resolve
from workers.spec.field_errors import MAX_SHOWN, field_errors, short, what_is_allowed
from workers.spec.model import ModelSpec
from workers.spec.resolve_data import described, with_first_values
from workers.spec.search_space import MAX_TRIALS, Range, Values
from workers.spec.sweep import SweepSpec, TrainingSpec, TrialSpec
from workers.tasks import Task
from workers.tasks.dataset_info import DatasetTask

MAX_STEP_BYTES = 64 * 2**30
"""States that one step of one trial may keep for its backward: what the largest accelerators hold."""


def parse_sweep(document: Any, data_dir: Path | None = None) -> SweepSpec:
    """Check a sweep as a whole: fields, the space's paths and sizes, its data, and that its trials can be built.

    Only a task whose sizes depend on its files reads them, from ``data_dir``, and only where the document does not give
    their facts.
    """
    sweep = _validated(document)
    errors = [*_space_errors(sweep), *_objective_errors(sweep)]
    if errors:
        raise SpecError(errors[:MAX_SHOWN])
    sweep = described(sweep, data_dir)
    errors = list(_trial_errors(sweep))
    if errors:
        raise SpecError(errors)
    return sweep


def _validated(document: Any) -> SweepSpec:
    """Values that do not go together are no error where the space overrides them."""
    try:
        return SweepSpec.model_validate(with_first_values(document))
    except ValidationError as error:
        with suppress(ValidationError):
            return SweepSpec.model_validate(with_first_values(document, every=True))
        raise SpecError(field_errors(error)) from None


def swept_fields(task: Task) -> dict[str, FieldInfo]:
    """The paths that can stand in a space for this task, sorted."""
    parts: dict[str, type[BaseModel]] = {"model": ModelSpec, "task": type(task), "training": TrainingSpec}
    fixed = {f"task.{field}" for field in ("name", *(task.info_fields if isinstance(task, DatasetTask) else ()))}
    found = {f"{part}.{name}": info for part, spec in parts.items() for name, info in spec.model_fields.items()}
    return {path: found[path] for path in sorted(found) if path not in fixed}


def _space_errors(sweep: SweepSpec) -> Iterable[FieldError]:
    fields = swept_fields(sweep.task)
    for path, dimension in sweep.space.items():
        if path not in fields:
            close = difflib.get_close_matches(path, fields, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            yield FieldError(
                f"space.{path}", path, "is not a field that can be swept", f"{hint}one of {', '.join(fields)}"
            )
            continue
        yield from _dimension_errors(path, dimension, fields[path], sweep.search.sampler)
    size = grid_size(sweep.space) if sweep.search.sampler == "grid" and not _open_ranges(sweep) else 0
    if size > MAX_TRIALS:
        yield FieldError(
            "space",
            size,
            f"the grid has {size:,} points",
            f"at most {MAX_TRIALS:,}; use fewer values or sampler random",
        )


def _open_ranges(sweep: SweepSpec) -> list[str]:
    return [p for p, d in sweep.space.items() if isinstance(d, Range) and d.grid is None and not d.whole]


def _dimension_errors(path: str, dimension: Values | Range, info: FieldInfo, sampler: str) -> Iterable[FieldError]:
    """Each value of a dimension checked against the field it stands for, alone."""
    checker: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
    if isinstance(dimension, Values):
        points = [(f"space.{path}.values.{i}", value) for i, value in enumerate(dimension.values)]
    else:
        points = [(f"space.{path}.low", dimension.low), (f"space.{path}.high", dimension.high)]
        if sampler == "grid" and dimension.grid is None and not dimension.whole:
            allowed = f"grid: 1 to {MAX_TRIALS:,}"
            yield FieldError(f"space.{path}.grid", None, "a grid over this range needs a number of points", allowed)
    for location, value in points:
        try:
            checker.validate_python(value, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            message = str(found["msg"])
            allowed = what_is_allowed(found["type"], found.get("ctx") or {}, message)
            yield FieldError(location, short(value), message, allowed)


def _objective_errors(sweep: SweepSpec) -> Iterable[FieldError]:
    allowed = [f"val/{metric}" for metric in sweep.task.metrics]
    if sweep.objective.metric is not None and sweep.objective.metric not in allowed:
        yield FieldError(
            "objective.metric",
            sweep.objective.metric,
            f"task {sweep.task.name} has no such metric",
            f"one of {', '.join(allowed)}",
        )


def _trial_errors(sweep: SweepSpec) -> Iterable[FieldError]:
    """The first trial whose values do not go together, or that no machine could hold: all of them are built."""
    for number, params in enumerate(params_of(sweep)):
        try:
            trial = resolve(sweep, number, params)
            if trial.step_bytes > MAX_STEP_BYTES:
                yield _too_large(trial)
                return
            if trial.training.dtype == "bfloat16" and not sweep.resources.gpus:
                yield _NO_MIXING
                return
            if trial.objective.metric.removeprefix("val/") not in trial.task.metrics:
                yield _no_metric(trial)
                return
        except ValidationError as error:
            yield _misfit(sweep, params, field_errors(error)[0])
            return


def _misfit(sweep: SweepSpec, params: Params, found: FieldError) -> FieldError:
    """What is wrong with the trial at ``params``, and at which; where its kind of model is to blame, the way out."""
    field = f"space.{found.field}" if found.field in params else found.field
    shown = ", ".join(f"{name} = {value}" for name, value in params.items())
    blamed = found.field.startswith("model.") and found.field != "model.kind" and _other_kind_fits(sweep, params)
    apart = f"; or a sweep of its own for kind {params['model.kind']}" if blamed else ""
    return FieldError(
        field, params.get(found.field, found.given), f"{found.problem} (at {shown})", f"{found.allowed}{apart}"
    )


def _other_kind_fits(sweep: SweepSpec, params: Params) -> bool:
    """Whether another of the swept kinds of model goes with the same values."""
    kinds = sweep.space.get("model.kind")
    for kind in kinds.values if isinstance(kinds, Values) else ():
        with suppress(ValidationError):
            resolve(sweep, 0, params | {"model.kind": kind})
            return True
    return False


_NO_MIXING = FieldError(
    "training.dtype", "bfloat16", "needs a GPU, and resources.gpus is 0", "float32, float64, or resources.gpus above 0"
)


def _no_metric(trial: TrialSpec) -> FieldError:
    shown = ", ".join(f"{name} = {value}" for name, value in trial.params.items())
    allowed = f"a metric of every trial's task: here one of {', '.join(f'val/{name}' for name in trial.task.metrics)}"
    return FieldError("objective.metric", trial.objective.metric, f"is no metric of the task at {shown}", allowed)


def _too_large(trial: TrialSpec) -> FieldError:
    model, training = trial.model, trial.training
    return FieldError(
        "training.batch_size",
        training.batch_size,
        f"one step would keep {trial.step_bytes / 2**30:,.0f} GiB of states: batch_size {training.batch_size} x "
        f"{trial.task.sequence_length} steps x hidden_size {model.hidden_size} x {model.layers} layers",
        f"at most {MAX_STEP_BYTES // 2**30} GiB; use a smaller batch_size, hidden_size or number of layers",
    )
