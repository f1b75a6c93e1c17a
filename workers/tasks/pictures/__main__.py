"""A picture of a task's sample from the command line: ``python -m workers.tasks.pictures copy --out copy.png``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from workers.errors import DataMissing
from workers.tasks import TASKS, Task
from workers.tasks.dataset_info import FileTask
from workers.tasks.pictures.sample_plots import picture

DPI = 150


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the picture. Gives 1 with a line on standard error where there is none to be drawn."""
    options = _parser().parse_args(arguments)
    try:
        task = _task(options.task, options.data_dir)
        picture(task, options.data_dir, split=options.split, index=options.sample).savefig(options.out, dpi=DPI)
    except (DataMissing, IndexError, ValueError, OSError) as error:
        print(_first(error), file=sys.stderr)
        return 1
    print(options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.tasks.pictures", description="Draw a sample of a task.")
    names = ", ".join(sorted(TASKS))
    parser.add_argument("task", help=f'{names}; or with its fields: \'{{"name": "copy", "length": 50}}\'')
    parser.add_argument("--out", type=Path, required=True, help="file to write: .png, .svg or .pdf")
    parser.add_argument("--sample", type=int, default=0, help="which sequence of the set, from 0")
    parser.add_argument("--split", choices=["validation", "test"], default="validation")
    given = os.environ.get("SPECTRAL_DATA_DIR")
    parser.add_argument(
        "--data-dir", type=Path, default=Path(given) if given else None, help="default: $SPECTRAL_DATA_DIR"
    )
    return parser


def _task(text: str, data_dir: Path | None) -> Task:
    fields = json.loads(text) if text.lstrip().startswith("{") else {"name": text}
    kind = TASKS.get(str(fields.get("name")))
    if kind is None:
        raise ValueError(f"{fields.get('name')!r} is not a known task; one of {', '.join(sorted(TASKS))}")
    task = kind.model_validate(fields)
    return task.described(data_dir) if isinstance(task, FileTask) else task


def _first(error: Exception) -> str:
    """What is wrong, in a line: of a document's mistakes the first."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_url=False)[0]
    return f"task.{'.'.join(map(str, found['loc']))}: {found['msg']}"


if __name__ == "__main__":
    sys.exit(main())
