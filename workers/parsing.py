"""The one door for a sweep from outside: JSON in, a ``SweepSpec`` whose every trial is valid out, or ``SpecError``."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from workers.describing import described, with_first_values
from workers.dimensions import MAX_TRIALS, Range, Values
from workers.errors import FieldError, SpecError
from workers.model_spec import ModelSpec
from workers.space import grid_size, params_of, resolve
from workers.spec import SweepSpec, TrainingSpec, TrialSpec
from workers.tasks import TASKS, Task
from workers.tasks.facts import FileTask

MAX_SHOWN = 20
MAX_STEP_BYTES = 64 * 2**30
"""States that one step of one trial may keep for its backward: what the largest accelerators hold."""
_DIMENSIONS = ("Values", "Range")


def parse_sweep(document: Any, data_dir: Path | None = None) -> SweepSpec:
    """Check a sweep as a whole: fields, the space's paths and sizes, its data, and that its trials can be built.

    Only a task whose sizes depend on its files reads them, from ``data_dir``, and only where the document does not give
    their facts.
    """
    try:
        sweep = SweepSpec.model_validate(with_first_values(document))
    except ValidationError as error:
        raise SpecError(field_errors(error, SweepSpec)) from None
    errors = [*_space_errors(sweep), *_objective_errors(sweep)]
    if errors:
        raise SpecError(errors[:MAX_SHOWN])
    sweep = described(sweep, data_dir)
    errors = list(_trial_errors(sweep))
    if errors:
        raise SpecError(errors)
    return sweep


def field_errors(error: ValidationError, spec: type[BaseModel]) -> list[FieldError]:
    """Pydantic's errors as ours: dotted path, what was given, what is allowed."""
    found = [_field_error(item) for item in error.errors(include_url=False)[: 5 * MAX_SHOWN]]
    return list({str(one): one for one in found}.values())[:MAX_SHOWN]


def _field_error(item: Any) -> FieldError:
    context = item.get("ctx") or {}
    location = [str(part) for part in item["loc"]]
    task = location[1] if location[:1] == ["task"] and len(location) > 1 else None
    path = [part for place, part in enumerate(location) if not _is_tag(location[0], place, part)]
    if "name" in context:
        path.append(str(context["name"]))
    field = ".".join(path) or "(document)"
    given, kind = item.get("input"), item["type"]
    for part in str(context.get("name", "")).split(".") if "name" in context else ():
        given = given.get(part) if isinstance(given, dict) else given
    if kind == "missing":
        return FieldError(field, None, "is missing", "give this field")
    if kind == "extra_forbidden":
        return FieldError(field, _short(given), "is not a known field", _near(path, task))
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        name = given.get("name") if isinstance(given, dict) else given
        return FieldError("task.name", _short(name), "is not a known task", f"one of {', '.join(TASKS)}")
    if kind in ("model_type", "model_attributes_type") and path[:1] == ["space"]:
        allowed = 'a list, {"values": [...]}, or {"low": ..., "high": ...}'
        return FieldError(field, _short(given), "is not a dimension", allowed)
    return FieldError(field, _short(given), str(item["msg"]), _allowed(kind, context, str(item["msg"])))


def _is_tag(top: str, place: int, part: str) -> bool:
    """Whether this part of pydantic's location is the name of a union's member rather than a key of the document."""
    return (top == "task" and place == 1 and part in TASKS) or (top == "space" and place == 2 and part in _DIMENSIONS)


def _near(path: list[str], task: str | None) -> str:
    """What could have been meant by an unknown field: the fields of the part it stands in."""
    parts: dict[str, type[BaseModel]] = {
        name: info.annotation
        for name, info in SweepSpec.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }
    spec = SweepSpec if len(path) < 2 else parts.get(path[0])
    names = list(spec.model_fields) if spec else []
    if path[0] == "task":
        names = list(TASKS[task].model_fields) if task in TASKS else []
    close = difflib.get_close_matches(path[-1], names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}one of {', '.join(names)}" if names else "leave it out"


_BOUNDS = {
    "ge": "at least",
    "gt": "above",
    "le": "at most",
    "lt": "below",
    "min_length": "length at least",
    "max_length": "length at most",
}


_KINDS = {
    "int_type": "a whole number", "float_type": "a number", "finite_number": "a finite number", "string_type": "text",
    "bool_type": "true or false", "dict_type": "an object", "model_type": "an object", "list_type": "a list",
    "model_attributes_type": "an object", "string_pattern_mismatch": "text without control characters",
}  # fmt: skip


def _allowed(kind: str, context: dict[str, Any], message: str) -> str:
    if "expected" in context:
        return str(context["expected"])
    bounds = [f"{words} {context[key]}" for key, words in _BOUNDS.items() if key in context]
    return ", ".join(bounds) or _KINDS.get(kind, message)


def _short(value: Any) -> Any:
    """What was given, cut to a size that can be shown; NaN and infinity as text, since JSON has neither."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, str | int | float | bool | None) and len(str(value)) <= 200:
        return value
    text = repr(value)
    return text if len(text) <= 200 else text[:197] + "..."


def swept_fields(task: Task) -> dict[str, FieldInfo]:
    """The paths that can stand in a space for this task, sorted."""
    parts: dict[str, type[BaseModel]] = {"model": ModelSpec, "task": type(task), "training": TrainingSpec}
    fixed = {f"task.{field}" for field in ("name", *(task.decisive if isinstance(task, FileTask) else ()))}
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
            yield FieldError(location, _short(value), message, _allowed(found["type"], found.get("ctx") or {}, message))


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
            for found in field_errors(error, SweepSpec)[:1]:
                swept = f"space.{found.field}" if found.field in params else found.field
                shown = ", ".join(f"{name} = {value}" for name, value in params.items())
                yield FieldError(
                    swept, params.get(found.field, found.given), f"{found.problem} (at {shown})", found.allowed
                )
            return


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
