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


class RecordPart(BaseModel):
    """The base class of all parts of a record; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PointRecord(RecordPart):
    """One report of a trial: its step and its metrics."""

    step: int
    values: dict[str, float | None]


class TrialRecord(RecordPart):
    """A trial with all its reports.

    Attributes:
        pack: Id of the pack; trials that were trained together have the same one.
        cause: Cause of the end of the last attempt: ``user`` if the trial itself failed, ``infrastructure`` if its
            process was lost.
        attempts: Number of attempts.
        points: The reports, by step.
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
    """A sweep that has ended.

    Attributes:
        document: The sweep as it was submitted.
        spec: The sweep with all its defaults.
        machine: Description of the machine, as values by name.
        trials: Its trials, by number.
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
        """Hash of the document."""
        return SweepDocument(self.stem, self.document).digest

    @property
    def complete(self) -> bool:
        """Whether every trial ended by itself: a net that diverged is a result, a lost process is not."""
        return not any(t.state == "cancelled" or (t.state == "failed" and t.cause != "user") for t in self.trials)


class Records:
    """The records in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def home(self) -> Path:
        """Folder of the service's data."""
        return self.folder / "home"

    def path(self, stem: str) -> Path:
        """Return the file of a sweep's record."""
        return self.folder / "records" / f"{stem}.json"

    def load(self, stem: str) -> Record | None:
        """Return the record of a sweep, or None if it has none. Raises RecordWrong if the file is not a record."""
        path = self.path(stem)
        if not path.exists():
            return None
        try:
            return Record.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the whole file"
            raise RecordWrong(
                f"{path} is not a record of this study: {place}: {first['msg']}. Delete it to run the sweep again."
            ) from error

    def all(self) -> dict[str, Record]:
        """Return all records by the name of their sweep."""
        stems = sorted(path.stem for path in (self.folder / "records").glob("*.json"))
        return {stem: record for stem in stems if (record := self.load(stem)) is not None}

    def save(self, record: Record) -> None:
        """Write a record."""
        path = self.path(record.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, record.model_dump_json(indent=0).encode())

    def has(self, document: SweepDocument) -> bool:
        """Return whether there is a record of exactly this document, with no trial lost."""
        record = self.load(document.stem)
        return record is not None and record.digest == document.digest and record.complete

    def key(self, document: SweepDocument) -> str:
        """Return the idempotency key of a document, which stays the same until ``start_over``."""
        return f"study:{document.stem}:{document.digest}:{self._run(document.stem)}"

    def start_over(self, stem: str) -> None:
        """Delete the record of a sweep and give it a new idempotency key."""
        path = self.folder / "runs" / stem
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, str(self._run(stem) + 1).encode())
        self.path(stem).unlink(missing_ok=True)

    def _run(self, stem: str) -> int:
        path = self.folder / "runs" / stem
        return int(path.read_text()) if path.exists() else 0
