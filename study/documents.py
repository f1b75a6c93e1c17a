"""The sweeps of the study: the documents under examples/paper, one folder for each size."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import DataNotThere, DocumentWrong
from study.machine import ROOT
from workers.errors import DataMissing, SpecError
from workers.spec.expand import tasks_of
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

PAPER = ROOT / "examples" / "paper"
SIZES = ("cpu", "full")
DATA_VARIABLE = "SPECTRAL_DATA_DIR"
READ_FROM_FILES = frozenset({"mnist", "ptb_char", "ptb_word", "ucr", "own_data", "text"})
SHORT_REPORTS = 4
"""Reports of a trial in a dry run."""


@dataclass(frozen=True)
class SweepDocument:
    """A sweep as it is submitted; ``stem`` is the name of its file."""

    stem: str
    content: dict[str, Any]

    @property
    def digest(self) -> str:
        """Of the content, whatever the order of its keys."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def belongs(stem: str, experiment: str) -> bool:
    """Whether the sweep of this name is one of the experiment's: it has its name, or goes on with a hyphen."""
    return stem == experiment or stem.startswith(f"{experiment}-")


def read(folder: Path, experiments: Iterable[str]) -> list[SweepDocument]:
    """The experiments' sweeps, in the order of the experiments and then of their names. Raises DocumentWrong."""
    found = []
    paths = sorted(folder.glob("*.json"))
    for name in experiments:
        for path in paths:
            if belongs(path.stem, name):
                found.append(SweepDocument(path.stem, _content(path)))
    return found


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DocumentWrong(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise DocumentWrong(f"{path} holds a {type(content).__name__}; a sweep is an object")
    return content


def shortened(document: SweepDocument, steps: int) -> SweepDocument:
    """The same sweep for a dry run: at most ``steps`` steps a trial, four reports, its first seed alone."""
    content = copy.deepcopy(document.content)
    training, space = content.setdefault("training", {}), content["space"]
    training["steps"] = min(steps, training.get("steps", steps))
    training["report_every"] = min(training.get("report_every", steps), max(1, training["steps"] // SHORT_REPORTS))
    training["warmup_steps"] = min(training.get("warmup_steps", 0), training["steps"] - 1)
    training.pop("checkpoint_every", None)
    space.pop("training.steps", None)
    seeds = space.get("training.seed")
    if seeds is not None:
        values = seeds if isinstance(seeds, list) else seeds.get("values", [seeds.get("low", 0)])
        space["training.seed"] = {"values": values[:1]}
    content["name"] = f"{content.get('name', document.stem)}-short"
    return SweepDocument(document.stem, content)


def data_dir() -> Path | None:
    """The folder that SPECTRAL_DATA_DIR names."""
    given = os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser().absolute() if given else None


def checked(documents: Sequence[SweepDocument], folder: Path | None) -> dict[str, SweepSpec]:
    """The sweeps by name, each a valid one whose data can be read. Raises DocumentWrong, DataNotThere."""
    found = {}
    for document in documents:
        try:
            found[document.stem] = parse_sweep(document.content, folder)
        except SpecError as error:
            raise DocumentWrong(f"{document.stem}.json: {error}") from error
    _check_data(found.values(), folder)
    return found


def _check_data(sweeps: Iterable[SweepSpec], folder: Path | None) -> None:
    tasks = [task for sweep in sweeps for task in tasks_of(sweep)]
    for task in {repr(task): task for task in tasks if task.name in READ_FROM_FILES}.values():  # type: ignore[attr-defined]
        try:
            task.held_out("test", folder)
        except DataMissing as error:
            where = f"{DATA_VARIABLE} is {folder}" if folder else f"{DATA_VARIABLE} is not set"
            raise DataNotThere(f"{where}; it must name the folder of the data. {error}") from error
