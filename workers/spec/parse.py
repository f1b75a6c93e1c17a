"""The one way in for a sweep: ``parse_sweep`` turns JSON into a ``SweepSpec`` whose every trial can be trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from workers.errors import FieldError, NoValidPoint, SpecError
from workers.spec.early_stopping import early_stopping_errors
from workers.spec.expand import objective, plan_trial, points_of
from workers.spec.field_errors import MAX_LETTERS, MAX_SHOWN, field_errors, shorten
from workers.spec.model import ModelSpec
from workers.spec.resolve_data import add_dataset_info, check_files, fill_swept_fields
from workers.spec.resources import resource_errors
from workers.spec.samplers import SAMPLERS
from workers.spec.search_checks import count_errors, enqueue_errors, no_valid_point, repeat_errors, search_errors
from workers.spec.search_space import Range, Values
from workers.spec.sweep import COSTS, SweepSpec
from workers.spec.training import TrainingSpec
from workers.spec.trial import TrialSpec
from workers.tasks import Task
from workers.tasks.dataset_info import DatasetTask
from workers.wording import describe, one_of


def parse_sweep(document: Any, data_dir: Path | None = None) -> SweepSpec:
    """Validate a sweep document as a whole: its fields, its space, its data, and that every trial can be trained.

    Args:
        document: The decoded JSON document.
        data_dir: The folder of data sets; None for the one in the user's cache. Data sets are read and divided by a
            task whose sizes depend on its files, unless the document gives these sizes in ``task.facts``. Texts are
            read if ``data_dir`` is a folder.

    Raises:
        SpecError: The sweep cannot run as asked. ``errors`` names at most ``MAX_SHOWN`` wrong fields, with their values
            and what is allowed. Trials are examined in order up to the first that cannot be trained.
    """
    sweep = _validate(document)
    # no more are looked for than are shown: a dimension may have thousands of wrong values
    fields = swept_fields(sweep.task)
    errors = list(islice(chain(_space_errors(sweep, fields), _objective_errors(sweep)), MAX_SHOWN))
    for further in (
        search_errors(sweep, fields),
        enqueue_errors(sweep),
        repeat_errors(sweep),
        count_errors(sweep),
        early_stopping_errors(sweep),
        resource_errors(sweep.resources),
    ):
        # each looks at what those before it have found to be right
        if not errors:
            errors = list(islice(further, MAX_SHOWN))
    if errors:
        raise SpecError(errors)
    given = set(sweep.task.facts) if isinstance(sweep.task, DatasetTask) else set()
    try:
        sweep = add_dataset_info(sweep, data_dir)
        for number, params in enumerate(points_of(sweep)):
            plan_trial(sweep, number, params).require_spec()
    except NoValidPoint as found:
        raise SpecError([no_valid_point(sweep, found)]) from None
    streams = check_files(sweep, data_dir, given)
    if streams:
        for number, params in enumerate(points_of(sweep)):
            _check_stream(plan_trial(sweep, number, params).require_spec(), streams)
    return sweep


def _check_stream(trial: TrialSpec, streams: Mapping[Task, int]) -> None:
    """Raise SpecError if a batch of the trial needs more steps than the training stream of its task has."""
    steps, batch_size = streams.get(trial.task), trial.training.batch_size
    if steps is not None and steps // batch_size < trial.task.sequence_length:
        problem = f"rows of {trial.task.sequence_length:,} steps are more than the {steps:,} steps of the training text"
        allowed = "a smaller batch_size or task.length, or a longer text"
        raise SpecError([FieldError("training.batch_size", batch_size, problem, allowed)])


def _validate(document: Any) -> SweepSpec:
    """Return the document as a sweep.

    A document that is refused as it is may be valid once the swept fields that it leaves out have the first values of
    the space instead of their defaults, which need not go together.

    Raises:
        SpecError: The document is refused in both forms; the errors are those of the document as it is.
    """
    try:
        return SweepSpec.model_validate(fill_swept_fields(document))
    except ValidationError as error:
        with suppress(ValidationError):
            return SweepSpec.model_validate(fill_swept_fields(document, every=True))
        raise SpecError(field_errors(error)) from None


def swept_fields(task: Task) -> dict[str, FieldInfo]:
    """Return pydantic's descriptions of the fields that a space can sweep for this task, by dotted path, sorted."""
    parts = _parts(task)
    fixed = {f"task.{field}" for field in ("name", *(task.info_fields if isinstance(task, DatasetTask) else ()))}
    found = {f"{part}.{name}": info for part, spec in parts.items() for name, info in spec.model_fields.items()}
    return {path: found[path] for path in sorted(found) if path not in fixed}


def _parts(task: Task) -> dict[str, type[BaseModel]]:
    return {"model": ModelSpec, "task": type(task), "training": TrainingSpec}


@lru_cache(maxsize=512)
def _checker(part: type[BaseModel], field: str) -> TypeAdapter[Any]:
    """Return what checks a value of a field. Making one takes a hundred times as long as the check."""
    return TypeAdapter(part.model_fields[field].rebuild_annotation())


def _space_errors(sweep: SweepSpec, fields: Mapping[str, FieldInfo]) -> Iterator[FieldError]:
    """Yield what is wrong with the dimensions of the space: unknown paths, unsuited dimensions, wrong values."""
    sampler = SAMPLERS[sweep.search.sampler]
    for path, dimension in sweep.space.items():
        if path not in fields:
            problem, allowed = "is not a field that can be swept", one_of(path, fields)
            if path == "task.name":
                problem, allowed = "cannot be swept", "submit one sweep for each task"
            yield FieldError(f"space.{path}"[:MAX_LETTERS], shorten(path), problem, allowed)
            continue
        unsuited = sampler.unsuited(dimension)
        if unsuited is not None:
            yield FieldError(f"space.{path}.{unsuited.field}", None, unsuited.problem, unsuited.allowed)
        part, _, field = path.partition(".")
        yield from _dimension_errors(path, dimension, _checker(_parts(sweep.task)[part], field))


def _dimension_errors(path: str, dimension: Values | Range, checker: TypeAdapter[Any]) -> Iterator[FieldError]:
    """Yield the errors of a dimension's values, or of a range's two ends, each checked alone against its field."""
    if isinstance(dimension, Values):
        points = [(f"space.{path}.values.{i}", value) for i, value in enumerate(dimension.values)]
    else:
        points = [(f"space.{path}.low", dimension.low), (f"space.{path}.high", dimension.high)]
    for location, value in points:
        try:
            checker.validate_python(value, strict=True)
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            words = describe(found["type"], found.get("ctx") or {}, str(found["msg"]))
            yield FieldError(location, shorten(value), *words)


def _objective_errors(sweep: SweepSpec) -> Iterator[FieldError]:
    """Yield an error for each objective that is no validation metric of the task and no cost, or that comes twice."""
    allowed = [f"val/{metric}" for metric in sweep.task.metrics]
    problem = f"task {sweep.task.name} has no such metric"
    if sweep.objective.metric is not None and sweep.objective.metric not in allowed:
        yield FieldError("objective.metric", sweep.objective.metric, problem, f"one of {', '.join(allowed)}")
    seen = {objective(sweep).metric}
    for number, further in enumerate(sweep.further_objectives):
        field = f"further_objectives.{number}.metric"
        if further.metric not in (*allowed, *COSTS):
            yield FieldError(field, further.metric, problem, f"one of {', '.join((*allowed, *COSTS))}")
        elif further.metric in seen:
            yield FieldError(field, further.metric, "is an objective already", "each metric once, or leave it out")
        seen.add(further.metric)
