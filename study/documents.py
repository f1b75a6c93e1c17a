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
"""The least number of reports of a trial in a dry run, if it has as many steps."""


@dataclass(frozen=True)
class SweepDocument:
    """A sweep document of the study, as it is submitted to the service.

    Attributes:
        stem: The name of its file without the suffix, by which the study knows the sweep.
        content: The JSON object in the file.
    """

    stem: str
    content: dict[str, Any]

    @property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the content, independent of the order of its keys."""
        text = json.dumps(self.content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def belongs(stem: str, experiment: str) -> bool:
    """Return whether the sweep named ``stem`` is named like the experiment, or like it with a hyphen and more."""
    return stem == experiment or stem.startswith(f"{experiment}-")


def read(folder: Path, experiments: Iterable[str]) -> list[SweepDocument]:
    """Read the sweep documents that belong to some experiments.

    Args:
        folder: Folder with the documents of one size, such as examples/paper/cpu.
        experiments: Names of the experiments.

    Returns:
        The documents in the order of the experiments, and those of one experiment by name. An experiment without
        documents is passed over.

    Raises:
        DocumentWrong: If a file cannot be read or is not a JSON object.
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
    except OSError as error:
        raise DocumentWrong(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DocumentWrong(f"{path} is not JSON") from error
    if not isinstance(content, dict):
        raise DocumentWrong(f"{path} contains a JSON {type(content).__name__}; a sweep must be an object")
    return content


def shortened(document: SweepDocument, steps: int) -> SweepDocument:
    """Return a short version of a sweep document for a dry run; its sweep is named with ``-short`` at the end.

    A trial has at most ``steps`` steps, also if the numbers of steps are swept; at least ``SHORT_REPORTS`` reports, if
    it has as many steps; fewer warm-up steps than steps; and the default of ``checkpoint_every``. Of several seeds, the
    first is kept. All else stays.
    """
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
    """Return the absolute path of the folder that SPECTRAL_DATA_DIR names, or None if it is not set or empty."""
    given = os.environ.get(DATA_VARIABLE)
    return Path(given).expanduser().absolute() if given else None


def parse_all(documents: Sequence[SweepDocument], folder: Path | None) -> dict[str, SweepSpec]:
    """Parse sweep documents, and check that the files that their tasks need can be read.

    Args:
        documents: The sweep documents.
        folder: Folder with the files of the tasks; None if there is none.

    Returns:
        The parsed sweeps by the name of their document.

    Raises:
        DocumentWrong: If a document is not a valid sweep.
        DataUnavailable: If the files of a task are missing.
    """
    found = {}
    for document in documents:
        try:
            found[document.stem] = parse_sweep(document.content)  # data is looked at below, with a message of its own
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
            raise DataUnavailable(f"{where}; it must name the folder with the data of the tasks. {error}") from error
