"""Draw one sequence of a task, which is given by its name or by its fields in JSON, to an image file."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from workers.tasks import TASKS, Task
from workers.tasks.pictures.sample_plots import picture
from workers.tasks.task import Split

DPI = 150


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
        OSError: If the file cannot be written.
    """
    picture(parse_task(task), data_dir, split=split, index=index).savefig(out, dpi=DPI)


def parse_task(text: str) -> Task:
    """Return the task that ``text`` names or describes as a JSON object.

    Raises:
        ValueError: If the text is not JSON, the task is unknown or a field of it is wrong. The message is one line.
    """
    fields = json.loads(text) if text.lstrip().startswith("{") else {"name": text}
    kind = TASKS.get(str(fields.get("name")))
    if kind is None:
        raise ValueError(f"{fields.get('name')!r} is not a known task; choose one of {', '.join(sorted(TASKS))}")
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"task.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
