"""What is left of a sweep: in our tables, in MLflow, on the disk and among the processes. Read once it has settled."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil
from sqlalchemy import func, select

from service.store.tables import Attempt, Event, OutboxEntry, Sweep, Trial, TrialReport
from service.tracking.trial_metrics import scalars
from tests.end_to_end.small_sweep import CLOCK
from tests.faults.living_stack import LivingStack
from tests.faults.watchers import half_checkpoints

Values = dict[int, dict[str, float]]
"""By step the metrics by name, those that depend on the clock left out."""
Point = tuple[str, int, float]
"""A metric's name, its step and its value."""


@dataclass(frozen=True)
class AttemptOutcome:
    """One attempt: how it ended, where it began, and the numbers of the trials in its pack."""

    outcome: str | None
    from_step: int
    pack: tuple[int, ...]


@dataclass(frozen=True)
class TrialOutcome:
    """One trial, as our tables have it. ``points`` has all of its metrics, also those that depend on the clock."""

    number: int
    params: dict[str, Any]
    state: str
    reason: str | None
    user_failures: int
    infrastructure_failures: int
    values: Values
    points: Counter[Point]
    attempts: tuple[AttemptOutcome, ...]


@dataclass(frozen=True)
class RunOutcome:
    """One run of MLflow that is not deleted: its status and all of its points, each as often as it is there."""

    status: str
    points: Counter[Point]


@dataclass(frozen=True)
class SweepOutcome:
    """A sweep with all that belongs to it.

    Attributes:
        sweeps_of_key: How many sweeps its submission has made, however often it was sent with its key.
        event_seqs: The numbers of its events in the table.
        parents: Its own runs in MLflow; there should be one.
        runs: The runs of each trial in MLflow, by the trial's number; there should be one.
        unwritten: How many entries of the outbox are left.
        half: Checkpoints that are not whole.
        orphans: Processes that nobody needs any more.
        ready: Whether the service is ready again.
        read_seqs: The numbers of the events that the reader beside it was given.
        again: Checkpoints that were written although a whole one was as new.
    """

    state: str
    reason: str | None
    trials: tuple[TrialOutcome, ...]
    sweeps_of_key: int = 1
    event_seqs: tuple[int, ...] = ()
    parents: tuple[RunOutcome, ...] = ()
    runs: dict[int, tuple[RunOutcome, ...]] = field(default_factory=dict)
    unwritten: int = 0
    half: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    ready: bool = True
    read_seqs: tuple[int, ...] = ()
    again: tuple[tuple[str, int], ...] = ()


def of_tables(stack: LivingStack, sweep_id: str) -> SweepOutcome:
    """Return what our tables say of a sweep, and the fields about other places as if all were well there."""
    with stack.database.read() as session:
        sweep = session.get_one(Sweep, sweep_id)
        trials = list(session.scalars(select(Trial).where(Trial.sweep_id == sweep_id).order_by(Trial.number)))
        numbers = {trial.id: trial.number for trial in trials}
        in_pack: dict[str, tuple[int, ...]] = {}
        for pack_id, trial_id in session.execute(select(Attempt.pack_id, Attempt.trial_id)):
            if trial_id in numbers:
                in_pack[pack_id] = tuple(sorted({*in_pack.get(pack_id, ()), numbers[trial_id]}))
        found = []
        for trial in trials:
            reports = list(session.scalars(select(TrialReport).where(TrialReport.trial_id == trial.id)))
            attempts = session.scalars(select(Attempt).where(Attempt.trial_id == trial.id).order_by(Attempt.number))
            found.append(
                TrialOutcome(
                    trial.number,
                    trial.params,
                    trial.state,
                    trial.reason,
                    trial.user_failures,
                    trial.infrastructure_failures,
                    {report.step: _timeless(report.values) for report in reports},
                    Counter((key, row.step, value) for row in reports for key, value in scalars(row.values).items()),
                    tuple(AttemptOutcome(a.outcome, a.from_step, in_pack[a.pack_id]) for a in attempts),
                )
            )
        seqs = session.scalars(select(Event.seq).where(Event.sweep_id == sweep_id).order_by(Event.seq))
        entries = select(func.count()).select_from(OutboxEntry).where(OutboxEntry.sweep_id == sweep_id)
        return SweepOutcome(
            state=sweep.state,
            reason=sweep.reason,
            trials=tuple(found),
            event_seqs=tuple(seqs),
            unwritten=session.scalar(entries) or 0,
        )


def _timeless(values: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in values.items() if not key.startswith(CLOCK)}


def of_mlflow(stack: LivingStack, sweep_id: str) -> tuple[tuple[RunOutcome, ...], dict[int, tuple[RunOutcome, ...]]]:
    """Return the sweep's own runs, and those of its trials by their numbers, as MLflow's own tables have them.

    The points ``best/...`` are left out, which follow from the others.

    A point that was written twice with another time, or a run that nobody knows of, is seen only there.
    """
    path = stack.home.mlflow / "mlflow.db"
    if not path.exists():
        return (), {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        query = (
            "SELECT r.run_uuid, r.status, t.value FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid "
            "WHERE r.lifecycle_stage = 'active' AND t.key = ? AND r.run_uuid IN "
            "(SELECT run_uuid FROM tags WHERE key = 'spectral.sweep_id' AND value = ?)"
        )
        kinds = list(database.execute(query, ("spectral.kind", sweep_id)))
        numbers = dict(
            database.execute("SELECT run_uuid, value FROM params WHERE key = 'trial'")
        )  # a run that was begun and not filled has none
        points = "SELECT key, step, value FROM metrics WHERE run_uuid = ? AND key NOT LIKE 'best/%'"
        parents, runs = [], dict[int, list[RunOutcome]]()
        for run_id, status, kind in kinds:
            run = RunOutcome(status, Counter(database.execute(points, (run_id,))))
            if kind == "sweep":
                parents.append(run)
            else:
                runs.setdefault(int(numbers.get(run_id, -1)), []).append(run)
    return tuple(parents), {number: tuple(found) for number, found in runs.items()}


def half_written(stack: LivingStack, sweep_id: str) -> tuple[str, ...]:
    """Return the sweep's checkpoints that are not whole, as paths below the folder of checkpoints."""
    root = stack.home.checkpoints
    return tuple(sorted(str(path.relative_to(root)) for path in half_checkpoints(root / sweep_id)))


def titles(found: Iterable[Any]) -> tuple[str, ...]:
    """Return the id and the command line of each process that has not ended, whether or not its end was noticed."""
    told = []
    for process in found:
        with suppress(psutil.NoSuchProcess):  # a zombie is one of these, too
            told.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
    return tuple(told)
