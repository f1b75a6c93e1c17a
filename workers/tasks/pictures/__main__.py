"""The command ``python -m workers.tasks.pictures copy --out copy.png``, which draws a sample of a task."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from workers.tasks import TASKS
from workers.tasks.pictures.draw import draw


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the sample and return the exit status: 1, with a line on standard error, if it cannot be drawn."""
    options = _parser().parse_args(arguments)
    try:
        draw(options.task, options.out, options.data_dir, split=options.split, index=options.sample)
    except (ValueError, IndexError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(options.out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.tasks.pictures", description="Draw a sample of a task.")
    names = ", ".join(sorted(TASKS))
    parser.add_argument("task", help=f'{names}; or the fields of one: \'{{"name": "copy", "length": 50}}\'')
    parser.add_argument("--out", type=Path, required=True, help="file to write: .png, .svg or .pdf")
    parser.add_argument("--sample", type=int, default=0, help="number of the sequence in its set, from 0 (default: 0)")
    parser.add_argument("--split", choices=["validation", "test"], default="validation", help="default: validation")
    folder = os.environ.get("SPECTRAL_DATA_DIR")
    data_dir = Path(folder) if folder else None
    parser.add_argument("--data-dir", type=Path, default=data_dir, help="default: $SPECTRAL_DATA_DIR")
    return parser


if __name__ == "__main__":
    sys.exit(main())
