"""What the sweeps of a study gave, kept as files: every trial's whole history, and which run of a document it was.

Layout, under the study's folder::

    records/SWEEP.json   a sweep that has ended, with all its trials
    runs/SWEEP           how often the sweep was begun anew: a part of its idempotency key
    home/                the service's own: sweeps that run, checkpoints
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from study.documents import SweepDocument
from study.errors import RecordWrong
from workers.files import write_whole


class RecordPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PointRecord(RecordPart):
    """One report of a trial."""

    step: int
    values: dict[str, float | None]


class TrialRecord(RecordPart):
    """``pack``: the trials that were trained together have the same one. Times in seconds since 1970.

    ``cause``: of the last attempt's end, "user" for what the trial itself did, "infrastructure" for a lost process.
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
    """``document``: as submitted; ``spec``: with every default filled in. ``machine``: name -> value."""

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
        return SweepDocument(self.stem, self.document).digest

    @property
    def whole(self) -> bool:
        """Whether every trial ended by itself: a net that diverged is a result, a process that was lost is none."""
        return not any(t.state == "cancelled" or (t.state == "failed" and t.cause != "user") for t in self.trials)


class Records:
    """The records under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def path(self, stem: str) -> Path:
        return self.folder / "records" / f"{stem}.json"

    def load(self, stem: str) -> Record | None:
        """None where there is none. Raises RecordWrong."""
        path = self.path(stem)
        if not path.exists():
            return None
        try:
            return Record.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "all of it"
            raise RecordWrong(
                f"{path} is not a record of this study: {place}: {first['msg']}; delete it, and the sweep runs again"
            ) from error

    def all(self) -> dict[str, Record]:
        """By the name of the sweep."""
        stems = sorted(path.stem for path in (self.folder / "records").glob("*.json"))
        return {stem: record for stem in stems if (record := self.load(stem)) is not None}

    def save(self, record: Record) -> None:
        path = self.path(record.stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, record.model_dump_json(indent=0).encode())

    def has(self, document: SweepDocument) -> bool:
        """Whether this very document has been run to its end, no trial lost."""
        record = self.load(document.stem)
        return record is not None and record.digest == document.digest and record.whole

    def key(self, document: SweepDocument) -> str:
        """Idempotency key: the same document is the same sweep of the service until ``again``."""
        return f"study:{document.stem}:{document.digest}:{self._run(document.stem)}"

    def again(self, stem: str) -> None:
        """Forget what the sweep gave: its next key is a new one."""
        path = self.folder / "runs" / stem
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, str(self._run(stem) + 1).encode())
        self.path(stem).unlink(missing_ok=True)

    def _run(self, stem: str) -> int:
        path = self.folder / "runs" / stem
        return int(path.read_text()) if path.exists() else 0
