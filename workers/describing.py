"""The facts of every data set that a sweep's trials read, put into the sweep where it is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workers.errors import DataMissing, FieldError, SpecError
from workers.space import tasks_of
from workers.spec import SweepSpec
from workers.tasks import TASKS
from workers.tasks.facts import Facts, FileTask

MAX_SHOWN = 20


def with_first_values(document: Any) -> Any:
    """The document, where a required field of the task stands in the space alone, with its first value there."""
    task, space = (document.get(part) if isinstance(document, dict) else None for part in ("task", "space"))
    if not isinstance(task, dict) or not isinstance(space, dict):
        return document
    name = task.get("name")
    fields = TASKS[name].model_fields if isinstance(name, str) and name in TASKS else {}
    first: dict[str, Any] = {}
    for field, info in fields.items():
        dimension = space.get(f"task.{field}")
        values = dimension.get("values") if isinstance(dimension, dict) else dimension
        if info.is_required() and field not in task and isinstance(values, list) and values:
            first[field] = values[0]
    return document | {"task": task | first} if first else document


def at_first_point(document: Any) -> Any:
    """The document with fields that stand in the space alone at their first value there: what does not go together with
    their defaults may do so at every point of the space."""
    space = document.get("space") if isinstance(document, dict) else None
    if not isinstance(space, dict):
        return document
    parts: dict[str, dict[str, Any]] = {}
    for path, dimension in space.items():
        part, _, field = str(path).partition(".")
        values = dimension.get("values") if isinstance(dimension, dict) else dimension
        given = parts.get(part, document.get(part, {}))
        if part in ("model", "task", "training") and isinstance(given, dict) and isinstance(values, list) and values:
            parts[part] = {field: values[0]} | given
    return document | parts


def described(sweep: SweepSpec, data_dir: Path | None) -> SweepSpec:
    """The sweep with the facts of its task's data sets, those that it came with left as they are.

    Raises SpecError naming the field of each data set that cannot be read.
    """
    if not isinstance(sweep.task, FileTask):
        return sweep
    facts: dict[str, Facts] = dict(sweep.task.facts)
    errors: list[FieldError] = []
    sources = {task.source: task for task in reversed(tasks_of(sweep)) if isinstance(task, FileTask)}
    for source, task in sources.items():
        try:
            facts[source] = facts.get(source) or task.read_facts(data_dir)
        except (OSError, ValueError) as error:
            errors.append(_unreadable(sweep, task, error))
    if errors:
        raise SpecError(errors[:MAX_SHOWN])
    return sweep.model_copy(update={"task": sweep.task.model_copy(update={"facts": facts})})


def _unreadable(sweep: SweepSpec, task: FileTask, error: Exception) -> FieldError:
    field = f"task.{task.source_field}"
    if isinstance(error, DataMissing):
        problem = str(error)
    else:
        problem = f"its file cannot be read ({type(error).__name__}: {error})"
    allowed = "a data set that the server can read, or the sizes of this one in task.facts"
    return FieldError(f"space.{field}" if field in sweep.space else field, task.source, problem, allowed)
