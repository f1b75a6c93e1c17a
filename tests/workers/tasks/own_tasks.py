"""Tasks of own data, on tables that a test writes, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workers.tasks import Sequences
from workers.tasks.own_data import OwnData

ROWS = [("s0", 0, 1.5, "a"), ("s0", 1, 2.5, "a"), ("s1", 0, 3.5, "b"), ("s1", 1, 4.5, "b"), ("s2", 0, 5.5, "a")]
FRAME = pd.DataFrame(ROWS, columns=["series", "step", "x", "target"])
LONG = "series,x,target\n" + "".join(f"s{n},{n + t},{'ab'[n % 2]}\n" for n in range(8) for t in range(2 + n % 2))


def own(folder: Path, text: str | bytes | None = None, /, **fields: Any) -> OwnData:
    """The task with its facts, on ``data.csv`` with this text."""
    if text is not None:
        (folder / "data.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return OwnData.model_validate({"name": "own_data", "file": "data.csv"} | fields).with_info(folder)


def sizes(task: OwnData) -> tuple[int, int]:
    """Return the length of the task's longest series, and the number of its features."""
    return task.info.length, task.info.features


def parts_of(task: OwnData, folder: Path) -> list[Sequences]:
    found = task.training_data(folder)
    assert found is not None
    return [found, task.held_out("validation", folder), task.held_out("test", folder)]


def steps_of(task: OwnData, folder: Path) -> dict[tuple[float, ...], Any]:
    """Targets of all series of the task by their values of feature 0, in all three sets."""
    found = {}
    for part in parts_of(task, folder):
        lengths = part.lengths if part.lengths is not None else np.full(len(part), task.sequence_length)
        for inputs, target, length in zip(part.inputs, part.targets, lengths, strict=True):
            assert (inputs[length:] == 0).all()
            found[tuple(inputs[:length, 0].tolist())] = target.tolist()
    return found
