"""Draw one sequence of a task, which is given by its name or by its fields in JSON, to an image file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workers.tasks import TASKS, Task
from workers.tasks.pictures.sample_plots import picture
from workers.tasks.task import Split
from workers.wording import describe

DPI = 150
SUFFIXES = (".png", ".svg", ".pdf")
_SUFFIX_WORDS = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
_EXAMPLES = {"dataset": "GunPoint", "file": "mine.csv"}
"""A value for each field that some task requires, to show how a task is given with its fields."""


def draw(task: str, out: Path, data_dir: Path | None = None, *, split: Split = "validation", index: int = 0) -> None:
    """Draw one sequence of a task's held-out data and write the picture to a file.

    Args:
        task: Name of a task, such as ``copy``, or its fields as a JSON object: ``{"name": "copy", "length": 50}``.
        out: File to write. Its suffix decides the format: ``.png``, ``.svg`` or ``.pdf``.
        data_dir: Data directory; the user's cache folder if None. Tasks that make their own data do not read it.
        split: Held-out set that the sequence is taken from.
        index: Number of the sequence in that set, from 0.

    Raises:
        ValueError: If the task is unknown, a field of it is wrong, or the suffix of ``out`` is not supported.
        DataMissing: If the task's data is not in ``data_dir`` or is damaged.
        IndexError: If the set has no sequence of this number.
        OSError: If the file cannot be written, or its folder or ``data_dir`` does not exist.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{out} does not end in {_SUFFIX_WORDS}, and the ending decides the format")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"the folder {out.parent} for the picture does not exist; create it first")
    if data_dir is not None and not data_dir.is_dir():
        raise FileNotFoundError(f"the data directory {data_dir} does not exist; create it first, or choose another")
    picture(parse_task(task), data_dir, split=split, index=index).savefig(out, dpi=DPI)


def parse_task(text: str) -> Task:
    """Return the task that ``text`` names or describes as a JSON object.

    Raises:
        ValueError: If the text is not JSON, the task is unknown or a field of it is wrong. The message is one line.
    """
    fields = _fields_of(text)
    name = str(fields.get("name"))
    kind = TASKS.get(name)
    if kind is None:
        what = f"{fields['name']!r} is not a known task" if "name" in fields else "the task has no name"
        raise ValueError(f"{what}; choose one of {', '.join(sorted(TASKS))}")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_url=False)
        missing = [str(one["loc"][-1]) for one in found if one["type"] == "missing" and len(one["loc"]) == 1]
        if missing:
            example = json.dumps(fields | {field: _EXAMPLES.get(field, "...") for field in missing})
            needs = f"task {name} needs {' and '.join(missing)}"
            raise ValueError(f"{needs}; give the task with its fields: '{example}'") from error
        first = found[0]
        if first["type"] == "extra_forbidden":
            known = f"one of {', '.join(kind.model_fields)}"
            raise ValueError(f"task.{first['loc'][0]}: is not a known field; allowed: {known}") from error
        problem, allowed = describe(first["type"], first.get("ctx") or {}, str(first["msg"]))
        path = ".".join(str(part) for part in ("task", *first["loc"], *_named(first)))
        raise ValueError(f"{path}: {problem}; allowed: {allowed}") from error


def _fields_of(text: str) -> dict[str, Any]:
    """Return the fields of a task that is given by its name or as a JSON object.

    Raises:
        ValueError: If the text starts like JSON and is no JSON object.
    """
    if not text.lstrip().startswith(("{", "[", '"')):
        return {"name": text}
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise ValueError("the task is neither a name nor JSON") from error
    if not isinstance(fields, dict):
        raise ValueError("the task is JSON, but not an object with the task's fields")
    return fields


def _named(error: Any) -> tuple[str, ...]:
    """Return the field that a validator of the whole task names in an error, or nothing."""
    name = (error.get("ctx") or {}).get("name")
    return () if name is None else (str(name),)
