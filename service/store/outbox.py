"""The outbox: facts that MLflow has yet to receive.

An entry is written in the transaction that makes its fact true, is sent in order of its id, and is deleted once MLflow
has it. One function for each kind of entry builds its payload. The transaction that stores a fact calls it, and so does
``refill``, which writes all entries of a sweep again when MLflow has lost its runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select
from sqlalchemy.orm import Session

from service.states import SWEEP_ENDED, TRIAL_ENDED
from service.store import checkpoints, projections, reports
from service.store.tables import OutboxEntry, Sweep, Trial, TrialCheckpoint, TrialReport


def sweep_created(session: Session, sweep: Sweep) -> None:
    """Add the entry that makes MLflow create the sweep's run."""
    _add(session, sweep.id, "sweep", {"name": sweep.name, "at": sweep.created_at})


def trial_created(session: Session, trial: Trial) -> None:
    """Add the entry that makes MLflow create the trial's run."""
    _add(session, trial.sweep_id, "trial", {"number": trial.number}, trial.id)


def trial_metrics(session: Session, sweep_id: str, new: Sequence[TrialReport]) -> None:
    """Add an entry for each of some reports of a sweep's trials: the metrics at one step, and when they were stored."""
    if new:
        rows = [
            {"trial_id": one.trial_id, "payload": {"step": one.step, "values": one.values, "at": one.at}} for one in new
        ]
        session.execute(insert(OutboxEntry), [{"sweep_id": sweep_id, "kind": "metrics", **row} for row in rows])


def checkpoint_written(session: Session, sweep_id: str, checkpoint: TrialCheckpoint) -> None:
    """Add the entry with the path of a trial's checkpoint that is new, or is marked as best since now."""
    payload = {"step": checkpoint.step, "path": checkpoint.path, "best": checkpoint.best}
    _add(session, sweep_id, "checkpoint", payload, checkpoint.trial_id)


def sweep_ended(session: Session, sweep: Sweep) -> None:
    """Add the entry with the final state, the reason and the end time of a sweep that has ended."""
    _add(session, sweep.id, "ended", _end_of(sweep))


def trial_ended(session: Session, trial: Trial) -> None:
    """Add the entry with the final state, the reason and the end time of a trial that has ended."""
    _add(session, trial.sweep_id, "ended", _end_of(trial), trial.id)


def sweep_reopened(session: Session, sweep: Sweep) -> None:
    """Replace the entry with a sweep's end, if it is still here, by one that makes MLflow show its run as running."""
    _drop_ends(session, sweep.id, OutboxEntry.trial_id.is_(None))
    _add(session, sweep.id, "reopened", {})


def sweep_tagged(session: Session, sweep_id: str, tags: Sequence[str]) -> None:
    """Add the entry with the tags that a sweep has from now on."""
    _add(session, sweep_id, "tags", {"tags": list(tags)})


def trials_reopened(session: Session, sweep_id: str, trial_ids: Sequence[str]) -> None:
    """Replace the entries with the ends of trials that are still here by some that make MLflow show runs as running."""
    _drop_ends(session, sweep_id, OutboxEntry.trial_id.in_(trial_ids))
    for trial_id in trial_ids:
        _add(session, sweep_id, "reopened", {}, trial_id)


def oldest(session: Session, limit: int, skip: Sequence[str] = ()) -> list[OutboxEntry]:
    """Return the first ``limit`` entries in order of id, without those of the sweeps whose ids are in ``skip``."""
    query = select(OutboxEntry).order_by(OutboxEntry.id).limit(limit)
    return list(session.scalars(query.where(OutboxEntry.sweep_id.not_in(skip)) if skip else query))


def has_end(session: Session, sweep_id: str, trial_id: str | None) -> bool:
    """Return whether the entry with the end of a trial is still here, so that MLflow may not have its model yet.

    For the trial None it is the entry with the end of the sweep itself.
    """
    own = (OutboxEntry.sweep_id == sweep_id, OutboxEntry.trial_id == trial_id)
    return session.scalar(select(OutboxEntry.id).where(*own, OutboxEntry.kind == "ended").limit(1)) is not None


def trials_with_end(session: Session, trial_ids: Sequence[str]) -> set[str]:
    """Return those of some trials whose end is still here, so that MLflow may not have their checkpoints yet."""
    query = select(OutboxEntry.trial_id).where(OutboxEntry.trial_id.in_(trial_ids), OutboxEntry.kind == "ended")
    return {trial_id for trial_id in session.scalars(query) if trial_id is not None}


def remove(session: Session, ids: Sequence[int]) -> None:
    """Delete the entries with these ids."""
    session.execute(delete(OutboxEntry).where(OutboxEntry.id.in_(ids)))


def remove_all(session: Session, sweep_id: str) -> None:
    """Delete all entries of a sweep and of its trials."""
    session.execute(delete(OutboxEntry).where(OutboxEntry.sweep_id == sweep_id))


def size(session: Session) -> int:
    """Return the number of entries of all sweeps."""
    return session.scalar(select(func.count()).select_from(OutboxEntry)) or 0


def refill(session: Session, sweep_id: str) -> None:
    """Replace a sweep's entries by those that describe all of it, from the other tables, and forget its MLflow runs.

    The projector then creates the runs of the sweep and of its trials anew, and fills them. Runs that were deleted in
    MLflow are not forgotten, so that they are not created anew.
    """
    sweep = session.get_one(Sweep, sweep_id)
    projections.drop(session, sweep_id)
    remove_all(session, sweep_id)
    sweep_created(session, sweep)
    for trial in session.scalars(select(Trial).where(Trial.sweep_id == sweep_id).order_by(Trial.number)):
        _refill_trial(session, trial)
    if sweep.state in SWEEP_ENDED:
        sweep_ended(session, sweep)


def refill_one(session: Session, subject_id: str) -> None:
    """Replace the entries of a sweep's own run, or of a trial, by those that describe all of it, from the other tables.

    If the trial's sweep has ended, the sweep's own entries are written again too, because its results refer to the
    runs of its trials. Runs are not forgotten.
    """
    sweep = session.get_one(Sweep, subject_id.partition("-")[0])
    if subject_id == sweep.id:
        _refill_own(session, sweep)
        return
    trial = session.get_one(Trial, subject_id)
    session.execute(delete(OutboxEntry).where(OutboxEntry.sweep_id == sweep.id, OutboxEntry.trial_id == trial.id))
    _refill_trial(session, trial)
    own = projections.get(session, sweep.id)
    if sweep.state in SWEEP_ENDED and (own is None or not own.deleted):
        _refill_own(session, sweep)


def restored(session: Session, subject_id: str) -> None:
    """Store that the run of a sweep or trial was restored in MLflow, and add the entries that describe all of it.

    If it is the sweep's own run, its trials that have no run get their entries too.
    """
    projections.mark_deleted(session, [subject_id], deleted=False)
    refill_one(session, subject_id)
    known = projections.of_sweep(session, subject_id)
    for trial in session.scalars(select(Trial).where(Trial.sweep_id == subject_id).order_by(Trial.number)):
        if trial.id not in known:
            refill_one(session, trial.id)


def _refill_own(session: Session, sweep: Sweep) -> None:
    session.execute(delete(OutboxEntry).where(OutboxEntry.sweep_id == sweep.id, OutboxEntry.trial_id.is_(None)))
    sweep_created(session, sweep)
    if sweep.state in SWEEP_ENDED:
        sweep_ended(session, sweep)


def _refill_trial(session: Session, trial: Trial) -> None:
    trial_created(session, trial)
    trial_metrics(session, trial.sweep_id, reports.of_trial(session, trial.id))
    for checkpoint in checkpoints.of_trial(session, trial.id):
        checkpoint_written(session, trial.sweep_id, checkpoint)
    if trial.state in TRIAL_ENDED:
        trial_ended(session, trial)


def _drop_ends(session: Session, sweep_id: str, of_subjects: ColumnElement[bool]) -> None:
    ends = (OutboxEntry.sweep_id == sweep_id, of_subjects, OutboxEntry.kind == "ended")
    session.execute(delete(OutboxEntry).where(*ends))


def _end_of(subject: Sweep | Trial) -> dict[str, Any]:
    return {"state": subject.state, "reason": subject.reason, "at": subject.ended_at}


def _add(session: Session, sweep_id: str, kind: str, payload: dict[str, Any], trial_id: str | None = None) -> None:
    session.add(OutboxEntry(sweep_id=sweep_id, trial_id=trial_id, kind=kind, payload=payload))
