"""Records of the study's sweeps: every trial's whole history, and how often each sweep was started over.

Layout of the study's folder::

    records/SWEEP.json   a sweep that has ended, with all its trials
    runs/SWEEP           how often the sweep was started over, a part of its idempotency key
    home/                data of the service: running sweeps and checkpoints
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from study.documents import SweepDocument
from study.errors import RecordWrong
from workers.files import write_whole
from workers.wording import first_problem


class RecordPart(BaseModel):
    """The base class of all parts of a record; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PointRecord(RecordPart):
    """One report of a trial: its step and its metrics by name; None is a value that is not a finite number."""

    step: int
    values: dict[str, float | None]


class TrialRecord(RecordPart):
    """A trial with all its reports.

    Attributes:
        params: Values of the swept fields, by path.
        pack: Id of the pack of the last attempt; trials that were trained together have the same one. None if the trial
            was never in a pack.
        cause: What the last attempt failed of: ``user`` if the trial itself failed, ``infrastructure`` if its machine
            or disk did, ``process`` or ``cluster`` if its runner was lost; None if it did not fail.
        attempts: Number of attempts.
        points: The reports, in order of step.
    """

    number: int
    params: dict[str, Any]
    state: str
    reason: str | None
    step: int
    objective: float | None
    best_step: int | None
    started_at: float | None
    ended_at: float | None
    pack: str | None
    cause: str | None
    attempts: int
    points: list[PointRecord]


class Record(RecordPart):
    """A sweep that has ended, with its trials and the machine that it ran on.

    Attributes:
        stem: Name of the sweep's document, without the suffix.
        document: The sweep as it was submitted.
        spec: The sweep as the service stored it, with all defaults filled in.
        machine: Date, source, processor and versions, as ``machine.describe`` returns them.
        trials: Its trials, in order of number.
    """

    stem: str
    document: dict[str, Any]
    spec: dict[str, Any]
    sweep_id: str
    state: str
    reason: str | None
    machine: dict[str, str]
    trials: list[TrialRecord]

    @property
    def digest(self) -> str:
        """The hash of the document that was submitted, as ``SweepDocument.digest`` defines it."""
        return SweepDocument(self.stem, self.document).digest

    @property
    def complete(self) -> bool:
        """Whether no trial was cancelled, or failed for a reason outside it; one that itself failed is a result."""
        return not any(t.state == "cancelled" or (t.state == "failed" and t.cause != "user") for t in self.trials)


class Records:
    """Reads and writes the records in the study's folder, and counts how often each sweep was started over.

    Args:
        folder: The study's folder, with the layout that this module describes. It need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def home(self) -> Path:
        """The folder in which the service keeps running sweeps, MLflow's data and checkpoints."""
        return self.folder / "home"

    def path(self, stem: str) -> Path:
        """Return the path of a sweep's record, whether it exists or not."""
        return self.folder / "records" / f"{stem}.json"

    def load(self, stem: str) -> Record | None:
        """Return the record of a sweep, or None if it has none; raise RecordWrong if the file is not a valid record."""
        path = self.path(stem)
        if not path.exists():
            return None
        try:
            return Record.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise RecordWrong(
                f"{path} is not a record of this study: {first_problem(error)}. Delete it to run the sweep again."
            ) from error

    def all(self) -> dict[str, Record]:
        """Return all records by the name of their sweep; raise RecordWrong if one file is not a valid record."""
        stems = sorted(path.stem for path in (self.folder / "records").glob("*.json"))
        return {stem: record for stem in stems if (record := self.load(stem)) is not None}

    def save(self, record: Record) -> None:
        """Write a record, replacing the one that its sweep has already."""
        path = self.path(record.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, record.model_dump_json(indent=0).encode())

    def has(self, document: SweepDocument) -> bool:
        """Return whether there is a ``complete`` record of exactly this document; raise RecordWrong like ``load``."""
        record = self.load(document.stem)
        return record is not None and record.digest == document.digest and record.complete

    def key(self, document: SweepDocument) -> str:
        """Return the idempotency key of a document, which changes with its content and with ``start_over``."""
        return f"study:{document.stem}:{document.digest}:{self._run(document.stem)}"

    def start_over(self, stem: str) -> None:
        """Delete the record of a sweep, if it has one, and give the sweep a new idempotency key."""
        path = self.folder / "runs" / stem
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, str(self._run(stem) + 1).encode())
        self.path(stem).unlink(missing_ok=True)

    def _run(self, stem: str) -> int:
        path = self.folder / "runs" / stem
        return int(path.read_text()) if path.exists() else 0
