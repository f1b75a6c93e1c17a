"""Storing what a runner reported: metrics, checkpoints and ends, with events and outbox, in one transaction."""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from service.states import TRIAL_ENDED, TrialState
from service.store import events, outbox, packs, reports, sweeps, trials
from service.store.tables import Attempt, Pack, Trial, TrialCheckpoint
from workers.protocol import Checkpointed, Ended, Measured, Poll, Report
from workers.spec.sweep import RetriesSpec
from workers.spec.trial import Objective


def take_in(session: Session, pack: Pack, poll: Poll, objective: Objective, retries: RetriesSpec) -> bool:
    """Store what is new in a poll; True where a trial has new metrics. Taking a poll in again changes nothing."""
    sweeps.hold(session, pack.sweep_id)
    fresh = [report for report in poll.reports if report.seq > pack.last_seq]
    attempts = packs.open_attempts(session, pack.id)
    told = False
    for trial_id in dict.fromkeys(report.trial_id for report in fresh):
        attempt = attempts.get(trial_id)
        if attempt is not None:  # what an ended attempt still tells has been settled already
            own = [report for report in fresh if report.trial_id == trial_id]
            told |= _of_trial(session, session.get_one(Trial, trial_id), attempt, own, objective, retries)
    pack.last_seq = max([pack.last_seq, *(report.seq for report in fresh)])
    pack.state, pack.seen_at = "started", time.time()
    return told


def _of_trial(
    session: Session, trial: Trial, attempt: Attempt, own: list[Report], objective: Objective, retries: RetriesSpec
) -> bool:
    told = _metrics(session, trial, [r for r in own if isinstance(r, Measured)])
    for report in own:
        if isinstance(report, Checkpointed):
            _improve(trial, report, objective)
            _checkpoint(session, trial, report)
    for report in own:
        if isinstance(report, Ended):
            _end(session, trial, attempt, report, retries)
    return told


def _metrics(session: Session, trial: Trial, told: list[Measured]) -> bool:
    if not told:
        return False
    at = time.time()
    values = {report.step: report.values for report in reversed(told)}
    fresh = reports.add(session, trial.id, [(report.step, report.values) for report in told], at)
    for step in fresh:
        trial.step = max(trial.step, step)
        outbox.add(session, trial.sweep_id, "metrics", {"step": step, "values": values[step], "at": at}, trial.id)
        data = {"number": trial.number, "step": step, "values": values[step]}
        data |= {"objective": trial.objective, "best_step": trial.best_step}
        events.record(session, trial.sweep_id, "trial.metrics", data, trial.id)
    return bool(fresh)


def _improve(trial: Trial, report: Checkpointed, objective: Objective) -> None:
    """A trial's objective is that of its best checkpoint: what was better between two is a model nobody has."""
    value = report.objective
    if report.best and value is not None and (trial.objective is None or objective.better(value, trial.objective)):
        trial.objective, trial.best_step = value, report.step


def _checkpoint(session: Session, trial: Trial, report: Checkpointed) -> None:
    row = TrialCheckpoint(
        trial_id=trial.id, step=report.step, path=report.path, best=report.best, objective=report.objective,
        at=time.time(),
    )  # fmt: skip
    if reports.add_checkpoint(session, row):
        payload = {"step": report.step, "path": report.path, "best": report.best}
        outbox.add(session, trial.sweep_id, "checkpoint", payload, trial.id)
        data = {
            "number": trial.number, "step": report.step, "best": report.best, "objective": trial.objective,
            "best_step": trial.best_step,
        }  # fmt: skip
        events.record(session, trial.sweep_id, "trial.checkpointed", data, trial.id)


def _end(session: Session, trial: Trial, attempt: Attempt, report: Ended, retries: RetriesSpec) -> None:
    packs.end_attempt(attempt, report.outcome, report.cause, report.reason)
    if trial.state in TRIAL_ENDED:
        return
    to: TrialState
    if report.outcome == "failed":
        to = _after_failure(trial, report, retries)
    else:
        to = "waiting" if report.outcome == "paused" else report.outcome
    trials.move(session, trial, to, report.reason)


def _after_failure(trial: Trial, report: Ended, retries: RetriesSpec) -> TrialState:
    if report.cause == "infrastructure":
        trial.infrastructure_failures += 1
        return "waiting" if trial.infrastructure_failures <= retries.infrastructure else "failed"
    trial.user_failures += 1
    return "waiting" if trial.user_failures <= retries.user else "failed"
