"""Read the sizes of the data sets that a sweep uses, once, and keep them in the sweep."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

from workers.errors import DataMissing, FieldError, SpecError
from workers.spec.expand import tasks_of
from workers.spec.field_errors import MAX_SHOWN
from workers.spec.search_space import MAX_DIMENSIONS
from workers.spec.sweep import SweepSpec
from workers.tasks import TASKS, Task
from workers.tasks.dataset_info import DatasetInfo, DatasetTask

log = logging.getLogger(__name__)

OTHER_FILES = ("validation_file", "test_file")
"""Fields of a task that name a file beside that of its data set."""
MAX_DIVIDED = 20
"""The most tasks of a sweep, which differ in a swept field such as ``task.split_seed``, whose files are divided."""
SWEPT_PARTS = ("model", "task", "training")
"""Parts of a sweep whose fields can be in its space."""


def fill_swept_fields(document: Any, *, every: bool = False) -> Any:
    """Return the document with the first value of the space filled in for each required task field that it leaves out.

    A field that the space sets may be left out of its part, and the document must validate all the same. A value that
    the document gives is never replaced. A dimension that is no list of values, such as a range, fills in nothing.

    Args:
        document: The decoded JSON document, which is not changed. Anything that is not an object with an object
            ``space`` of at most ``MAX_DIMENSIONS`` fields is returned as it is.
        every: Fill in every swept field that is left out, also optional ones and those of model and training: the
            defaults of several swept fields need not go together.
    """
    space = document.get("space") if isinstance(document, dict) else None
    if not isinstance(space, dict) or len(space) > MAX_DIMENSIONS:
        return document
    parts: dict[str, dict[str, Any]] = {}
    for path, dimension in space.items():
        part, _, field = str(path).partition(".")
        values = dimension.get("values") if isinstance(dimension, dict) else dimension
        given = parts.get(part, document.get(part, {}))
        if part not in SWEPT_PARTS or not isinstance(given, dict) or not isinstance(values, list) or not values:
            continue
        if every or (part == "task" and _is_required(given.get("name"), field)):
            parts[part] = {field: values[0]} | given
    return document | parts


def _is_required(task: Any, field: str) -> bool:
    """Return whether the task of this name has the field and requires it; false if there is no such task."""
    fields = TASKS[task].model_fields if isinstance(task, str) and task in TASKS else {}
    return field in fields and fields[field].is_required()


def add_dataset_info(sweep: SweepSpec, data_dir: Path | None) -> SweepSpec:
    """Return the sweep with ``task.facts``: the sizes of every data set that its trials read.

    Sizes that the document gave are kept, and these data sets are not read. A sweep whose task is no ``DatasetTask`` is
    returned as it is.

    Raises:
        SpecError: Some data sets cannot be read; ``errors`` has one error for each, at most ``MAX_SHOWN``.
    """
    if not isinstance(sweep.task, DatasetTask):
        return sweep
    facts: dict[str, DatasetInfo] = dict(sweep.task.facts)
    errors: list[FieldError] = []
    sources = {task.dataset_name: task for task in reversed(tasks_of(sweep)) if isinstance(task, DatasetTask)}
    for source, task in sources.items():
        try:
            facts[source] = task.with_statistics(data_dir).info
        except Exception as error:  # a reader may stumble over a file in any way: it is the file that is refused
            _note(task, error)
            errors.append(_unreadable(sweep, task, error))
    if errors:
        raise SpecError(errors[:MAX_SHOWN])
    return sweep.model_copy(update={"task": sweep.task.model_copy(update={"facts": facts})})


def check_files(sweep: SweepSpec, data_dir: Path | None, given: Collection[str]) -> dict[Task, int]:
    """Read the files of the sweep's tasks and divide them as training will.

    Args:
        sweep: The sweep, with ``task.facts``.
        data_dir: The data directory.
        given: Names of the data sets whose sizes the document gave; these are not read.

    Returns:
        The steps of the training stream of each task that carries its state, as far as it was read.

    Raises:
        SpecError: Some files cannot be read or divided. The first ``MAX_DIVIDED`` tasks are looked at.
    """
    streams: dict[Task, int] = {}
    errors: list[FieldError] = []
    for task in tasks_of(sweep)[:MAX_DIVIDED]:
        if isinstance(task, DatasetTask) and task.dataset_name in given:
            continue
        try:
            size = task.check_data(data_dir)
        except Exception as error:  # as above
            _note(task, error)
            errors.append(_unreadable(sweep, task, error))
            continue
        if task.carried and size is not None:
            streams[task] = size
    if errors:
        raise SpecError(list({(error.field, error.problem): error for error in errors}.values())[:MAX_SHOWN])
    return streams


def _note(task: Task, error: Exception) -> None:
    """Log an error that no reader is meant to raise, so that the reader can be mended."""
    if not isinstance(error, OSError | ValueError):
        name = task.dataset_name if isinstance(task, DatasetTask) else task.name  # type: ignore[attr-defined]
        log.exception("the data of %r could not be read", name)


def _unreadable(sweep: SweepSpec, task: Task, error: Exception) -> FieldError:
    """Word the error of a task whose data cannot be read."""
    name = task.dataset_field if isinstance(task, DatasetTask) else "file" if hasattr(task, "file") else "name"
    file = error.file if isinstance(error, DataMissing) else ""
    name = next((field for field in OTHER_FILES if file and getattr(task, field, None) == file), name)
    field = f"task.{name}"
    if isinstance(error, DataMissing):
        problem = str(error)
    else:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it has another form than its name says"
        problem = f"cannot be read: {reason}"
    allowed = f"fix the file, or choose another with {field}"
    return FieldError(f"space.{field}" if field in sweep.space else field, getattr(task, name), problem, allowed)
