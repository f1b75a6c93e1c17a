"""The facts of every data set that a sweep's trials read, put into the sweep where it is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workers.errors import DataMissing, FieldError, SpecError
from workers.spec.expand import tasks_of
from workers.spec.sweep import SweepSpec
from workers.tasks import TASKS
from workers.tasks.dataset_info import DatasetInfo, DatasetTask

MAX_SHOWN = 20
SWEPT = ("model", "task", "training")
"""Parts of a sweep whose fields may stand in its space."""


def with_first_values(document: Any, *, every: bool = False) -> Any:
    """The document, where a required field of the task stands in the space alone, with its first value there.

    every: so with any field. What does not go together with defaults may do so at every point of the space.
    """
    space = document.get("space") if isinstance(document, dict) else None
    if not isinstance(space, dict):
        return document
    parts: dict[str, dict[str, Any]] = {}
    for path, dimension in space.items():
        part, _, field = str(path).partition(".")
        values = dimension.get("values") if isinstance(dimension, dict) else dimension
        given = parts.get(part, document.get(part, {}))
        if part not in SWEPT or not isinstance(given, dict) or not isinstance(values, list) or not values:
            continue
        if every or (part == "task" and _required(given.get("name"), field)):
            parts[part] = {field: values[0]} | given
    return document | parts


def _required(task: Any, field: str) -> bool:
    fields = TASKS[task].model_fields if isinstance(task, str) and task in TASKS else {}
    return field in fields and fields[field].is_required()


def described(sweep: SweepSpec, data_dir: Path | None) -> SweepSpec:
    """The sweep with the facts of its task's data sets, those that it came with left as they are.

    Raises SpecError naming the field of each data set that cannot be read.
    """
    if not isinstance(sweep.task, DatasetTask):
        return sweep
    facts: dict[str, DatasetInfo] = dict(sweep.task.facts)
    errors: list[FieldError] = []
    sources = {task.dataset_name: task for task in reversed(tasks_of(sweep)) if isinstance(task, DatasetTask)}
    for source, task in sources.items():
        try:
            facts[source] = facts.get(source) or task.read_info(data_dir)
        except (OSError, ValueError) as error:
            errors.append(_unreadable(sweep, task, error))
    if errors:
        raise SpecError(errors[:MAX_SHOWN])
    return sweep.model_copy(update={"task": sweep.task.model_copy(update={"facts": facts})})


def _unreadable(sweep: SweepSpec, task: DatasetTask, error: Exception) -> FieldError:
    field = f"task.{task.dataset_field}"
    if isinstance(error, DataMissing):
        problem = str(error)
    else:
        problem = f"its file cannot be read ({type(error).__name__}: {error})"
    allowed = "a data set that the server can read, or the sizes of this one in task.facts"
    return FieldError(f"space.{field}" if field in sweep.space else field, task.dataset_name, problem, allowed)
