"""Storing what a runner tells in one transaction: metrics, checkpoints, ends of trials, events, outbox, its output."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from service.states import TRIAL_ENDED, TrialState
from service.store import attempts, checkpoints, events, outbox, pack_lines, packs, reports, sweeps, trials
from service.store.events import NewEvent
from service.store.tables import Attempt, Pack, Trial, TrialCheckpoint
from workers.protocol import Checkpointed, Ended, Measured, Poll, Report
from workers.spec.sweep import RetriesSpec
from workers.spec.trial import Objective


def ingest(session: Session, pack: Pack, poll: Poll, objective: Objective, retries: RetriesSpec) -> bool:
    """Store the reports and lines of a poll with numbers above the pack's ``last_seq``, and mark the pack as started.

    Reports of a trial whose attempt in this pack has ended are dropped. If the runner has ended, trials that it never
    took wait again. The same poll a second time only updates the
    pack's ``seen_at``.

    Args:
        session: A session in a write transaction. Everything is stored in this one transaction.
        pack: The pack that the poll's runner trains.
        poll: The runner's answer.
        objective: The sweep's metric and its direction, by which a trial's best checkpoint is chosen.
        retries: How many failures of a trial, by their cause, are followed by another attempt.

    Returns:
        True if metrics of a step were stored that was not stored before.
    """
    sweeps.lock(session, pack.sweep_id)
    fresh = [report for report in poll.reports if report.seq > pack.last_seq]
    # an attempt that has ended is final: later reports of it are dropped
    open_attempts = attempts.open_of_pack(session, pack.id)
    told = [report for report in fresh if report.trial_id in open_attempts]
    reporting = {trial_id: trials.get(session, trial_id) for trial_id in {report.trial_id for report in told}}
    # a trial's metrics come before the checkpoints that were written after them, and its end comes last
    new, new_metrics = _store_metrics(session, pack.sweep_id, reporting, told)
    for report in told:
        if isinstance(report, Checkpointed):
            trial = reporting[report.trial_id]
            _update_objective(trial, report, objective)
            new += _store_checkpoint(session, trial, report)
    events.record_all(session, pack.sweep_id, new)
    for report in told:
        if isinstance(report, Ended):
            _store_end(session, reporting[report.trial_id], open_attempts[report.trial_id], report, retries)
    lines = [line for line in poll.lines if line.seq > pack.last_seq]
    pack_lines.add(session, pack.id, lines)
    if poll.state == "ended":
        _give_back(session, pack, poll)
    pack.last_seq = max([pack.last_seq, *(told.seq for told in (*fresh, *lines))])
    pack.state, pack.seen_at = "started", time.time()
    pack.node = poll.node or pack.node
    return new_metrics


def _give_back(session: Session, pack: Pack, poll: Poll) -> None:
    """Let the trials wait again that were given to a pack and that its runner, which has ended, never took."""
    session.flush()
    for trial_id, attempt in attempts.open_of_pack(session, pack.id).items():
        if trial_id not in poll.progress:
            reason = "its runner ended before it had taken the trial"
            attempts.end(attempt, attempts.MOVED, None, reason)
            trials.move(session, trials.get(session, trial_id), "waiting", reason)


def _store_metrics(
    session: Session, sweep_id: str, reporting: Mapping[str, Trial], told: Sequence[Report]
) -> tuple[list[NewEvent], bool]:
    """Store the metrics among some reports; return the events that tell of them, and whether there are any."""
    points: dict[str, list[tuple[int, dict[str, Any]]]] = {}
    for report in told:
        if isinstance(report, Measured):
            points.setdefault(report.trial_id, []).append((report.step, report.values))
    fresh = reports.add_all(session, points, time.time())
    outbox.trial_metrics(session, sweep_id, fresh)
    new = []
    for row in fresh:
        trial = reporting[row.trial_id]
        trial.step = max(trial.step, row.step)
        data = {"number": trial.number, "step": row.step, "values": row.values}
        data |= {"objective": trial.objective, "best_step": trial.best_step}
        new.append(NewEvent("trial.metrics", data, trial.id))
    return new, bool(fresh)


def _update_objective(trial: Trial, report: Checkpointed, objective: Objective) -> None:
    """Take over the objective and the step of a best checkpoint, if it is better than the trial's objective so far.

    Only checkpoints count. A better value between two checkpoints belongs to a model that was not kept. A value that is
    not finite is no result, and is not taken over.
    """
    if report.best and objective.better(report.objective, trial.objective):
        trial.objective, trial.best_step = report.objective, report.step


def _store_checkpoint(session: Session, trial: Trial, report: Checkpointed) -> list[NewEvent]:
    """Store a checkpoint, and return the event that tells of it, if it is new."""
    row = TrialCheckpoint(
        trial_id=trial.id,
        step=report.step,
        path=report.path,
        best=report.best,
        objective=report.objective,
        at=time.time(),
        size=report.size,
    )
    new = checkpoints.add(session, row)
    if report.kept is not None:
        checkpoints.note_kept(session, trial.id, report.step, report.kept, time.time())
    if not new:
        return []
    outbox.checkpoint_written(session, trial.sweep_id, row)
    data: dict[str, Any] = {"number": trial.number, "step": report.step, "best": report.best}
    data |= {"objective": trial.objective, "best_step": trial.best_step}
    return [NewEvent("trial.checkpointed", data, trial.id)]


def _store_end(session: Session, trial: Trial, attempt: Attempt, report: Ended, retries: RetriesSpec) -> None:
    pack = packs.get(session, attempt.pack_id)
    made_room = report.outcome == "paused" and pack.preempted is not None
    cause = attempts.PREEMPTED if made_room else report.cause
    attempts.end(attempt, report.outcome, cause, report.reason, report.log)
    attempt.line_to = report.seq
    if trial.state in TRIAL_ENDED:
        return
    to: TrialState
    reason = report.reason
    if report.outcome == "failed":
        alone = attempts.count_of_pack(session, attempt.pack_id) == 1
        to = _charge_failure(trial, report, retries, alone)
        if to == "failed":
            session.flush()
            reason = attempts.with_first_cause(session, trial.id, reason)
    elif report.outcome == "paused" or report.outcome == "moved":
        to = "waiting"
    else:
        to = report.outcome
    trials.move(session, trial, to, reason)


def _charge_failure(trial: Trial, report: Ended, retries: RetriesSpec, alone: bool) -> TrialState:
    """Count a failure, and return ``waiting`` if the trial has retries left for its cause, else ``failed``.

    A failure without a cause is counted as the user's. If the checkpoint store fails, or if memory was too short for a
    pack of several trials, nothing is counted: the trial waits for the store, or for a smaller pack. A trial that is
    too large for the memory while it is alone is the user's to change.
    """
    if report.cause == "storage" or (report.cause == "memory" and not alone):
        return "waiting"
    if report.cause == "infrastructure":
        trial.infrastructure_failures += 1
        return "waiting" if trial.infrastructure_failures <= retries.infrastructure else "failed"
    trial.user_failures += 1
    return "waiting" if trial.user_failures <= retries.user else "failed"
