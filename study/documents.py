"""The sweep documents of the study under examples/paper, one folder for each size."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.errors import DataUnavailable, DocumentWrong
from study.machine import ROOT
from workers.errors import DataMissing, SpecError
from workers.spec.expand import tasks_of
from workers.spec.parse import parse_sweep
from workers.spec.sweep import SweepSpec

PAPER = ROOT / "examples" / "paper"
SIZES = ("cpu", "full")
DATA_VARIABLE = "SPECTRAL_DATA_DIR"
SHORT_REPORTS = 4
"""Number of reports of a trial in a dry run."""


@dataclass(frozen=True)
class SweepDocument:
    """A sweep as it is submitted; ``stem`` is the name of its file without the suffix."""

    stem: str
    content: dict[str, Any]

    @property
    def digest(self) -> str:
        """Hash of the content, independent of the order of its keys."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def belongs(stem: str, experiment: str) -> bool:
    """Return whether a sweep belongs to an experiment: it has the same name, or that name, a hyphen and more."""
    return stem == experiment or stem.startswith(f"{experiment}-")


def read(folder: Path, experiments: Iterable[str]) -> list[SweepDocument]:
    """Read the sweeps of some experiments.

    Args:
        folder: Folder of the documents, one for each size.
        experiments: Names of the experiments.

    Returns:
        The sweeps in the order of the experiments, and those of one experiment by name.

    Raises:
        DocumentWrong: If a file is not a JSON object.
    """
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
        raise DocumentWrong(f"{path} contains a JSON {type(content).__name__}; a sweep must be an object")
    return content


def shortened(document: SweepDocument, steps: int) -> SweepDocument:
    """Return a short version of a sweep for a dry run: at most ``steps`` steps per trial, four reports, one seed."""
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
    """Return the folder that SPECTRAL_DATA_DIR names, or None if it is not set."""
    given = os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser().absolute() if given else None


def parse_all(documents: Sequence[SweepDocument], folder: Path | None) -> dict[str, SweepSpec]:
    """Parse sweeps and check that their data can be read.

    Args:
        documents: The sweeps.
        folder: Data directory.

    Returns:
        The parsed sweeps by name.

    Raises:
        DocumentWrong: If a sweep is not valid.
        DataUnavailable: If the data of a task cannot be read.
    """
    found = {}
    for document in documents:
        try:
            found[document.stem] = parse_sweep(document.content, folder)
        except SpecError as error:
            raise DocumentWrong(f"{document.stem}.json: {error}") from error
    _check_data(found.values(), folder)
    return found


def _check_data(sweeps: Iterable[SweepSpec], folder: Path | None) -> None:
    tasks = [task for sweep in sweeps for task in tasks_of(sweep) if task.reads_files]
    for task in {repr(task): task for task in tasks}.values():
        try:
            task.held_out("test", folder)
        except DataMissing as error:
            where = f"{DATA_VARIABLE} is {folder}" if folder else f"{DATA_VARIABLE} is not set"
            raise DataUnavailable(f"{where}; it must name the folder of the data. {error}") from error
