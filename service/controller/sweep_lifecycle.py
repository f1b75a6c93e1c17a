"""What follows for a sweep from where its trials stand: waiting ones cancelled, the sweep expanded, ended or failed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.states import SWEEP_ENDED, TRIAL_ENDED, SweepState
from service.store import outbox, packs, sweeps, trials
from service.store.tables import Sweep, Trial
from workers.spec.expand import next_points
from workers.spec.sweep import SweepSpec


def expand(session: Session, sweep_id: str, spec: SweepSpec) -> None:
    """Create the trials that the sweep's sampler is ready to propose, and move a queued sweep to running.

    A sampler that does not learn from results proposes all trials at once. A paused sweep gets its trials when it
    resumes.
    """
    sweep = _locked(session, sweep_id)
    if sweep.state not in ("queued", "running"):
        return
    earlier = trials.observations(session, sweep_id)
    for trial in trials.create(session, sweep, len(earlier), next_points(spec, earlier)):
        outbox.add(session, sweep_id, "trial", {"number": trial.number}, trial.id)
    if sweep.state == "queued":
        sweeps.move(session, sweep_id, "running")


def due(session: Session, sweep: Sweep) -> bool:
    """Whether ``settle`` would change anything; a look without a lock."""
    if sweep.state in SWEEP_ENDED:
        return False
    return bool(_to_cancel(session, sweep)) or (_expanded(session, sweep) and not _open(session, sweep.id))


def settle(session: Session, sweep_id: str) -> None:
    """Cancel what waits and shall not run any more; end the sweep once all its trials have ended."""
    sweep = _locked(session, sweep_id)
    if sweep.state in SWEEP_ENDED:
        return
    for trial in _to_cancel(session, sweep):
        trials.move(session, trial, "cancelled", _why(sweep, trial))
    session.flush()
    if _expanded(session, sweep) and not _open(session, sweep_id):
        _end(session, sweep)


def fail(session: Session, sweep_id: str, reason: str) -> None:
    """End a sweep that cannot go on, with all of its trials; its runners must be gone already."""
    sweep = _locked(session, sweep_id)
    for pack in packs.open_packs(session):
        if pack.sweep_id == sweep_id:
            for attempt in packs.open_attempts(session, pack.id).values():
                packs.end_attempt(attempt, "cancelled", None, reason)
            packs.end(pack, reason)
    for trial in _open(session, sweep_id):
        trials.move(session, trial, "failed", reason)
    if sweep.state not in SWEEP_ENDED:
        for step in _way_to_failure(sweep.state):
            sweeps.move(session, sweep_id, step, reason)


def _locked(session: Session, sweep_id: str) -> Sweep:
    sweeps.hold(session, sweep_id)
    sweep = sweeps.get(session, sweep_id)
    session.refresh(sweep)
    return sweep


def _expanded(session: Session, sweep: Sweep) -> bool:
    """Return whether the sweep has all of its trials, or needs no more since it is about to end."""
    return sweep.state in ("stopping", "cancelling") or trials.count(session, sweep.id) >= sweep.trial_count


def _open(session: Session, sweep_id: str) -> Sequence[Trial]:
    query = select(Trial).where(Trial.sweep_id == sweep_id, Trial.state.not_in(TRIAL_ENDED))
    return session.scalars(query.order_by(Trial.number)).all()


def _to_cancel(session: Session, sweep: Sweep) -> list[Trial]:
    """Waiting trials that shall not run. A sweep that stops lets those finish that only wait because they were lost."""
    query = select(Trial).where(Trial.sweep_id == sweep.id, Trial.state == "waiting").order_by(Trial.number)
    if sweep.state == "cancelling":
        return list(session.scalars(query))
    if sweep.state == "stopping":
        waiting = list(session.scalars(query))
        last = packs.last_attempts(session, [trial.id for trial in waiting])
        return [t for t in waiting if t.wanted or t.id not in last or last[t.id].outcome != packs.LOST]
    return list(session.scalars(query.where(Trial.wanted.is_not(None))))


def _why(sweep: Sweep, trial: Trial) -> str:
    if trial.wanted:
        return f"{'cancelled' if trial.wanted == 'cancel' else 'stopped'} by the user"
    return f"its sweep was {'cancelled' if sweep.state == 'cancelling' else 'stopped'}"


def _end(session: Session, sweep: Sweep) -> None:
    if sweep.state == "cancelling":
        sweeps.move(session, sweep.id, "cancelled")
        return
    if sweep.state == "stopping":
        sweeps.move(session, sweep.id, "stopped")
        return
    if sweep.state == "paused":  # its last trials ended before the pause came to them
        sweeps.move(session, sweep.id, "running")
    ended = trials.tally(session, [sweep.id])[sweep.id]
    if "succeeded" in ended or _pruned_with_result(session, sweep.id):
        sweeps.move(session, sweep.id, "succeeded")
        return
    counts = ", ".join(f"{count} {state}" for state, (count, _) in sorted(ended.items()))
    first = session.scalar(
        select(Trial).where(Trial.sweep_id == sweep.id, Trial.state == "failed").order_by(Trial.number).limit(1)
    )
    cause = f"; trial {first.number}: {first.reason}" if first else ""
    sweeps.move(session, sweep.id, "failed", f"no trial gave a result ({counts}){cause}")


def _pruned_with_result(session: Session, sweep_id: str) -> bool:
    query = select(Trial.id).where(Trial.sweep_id == sweep_id, Trial.state == "pruned", Trial.objective.is_not(None))
    return session.scalar(query.limit(1)) is not None


def _way_to_failure(state: str) -> list[SweepState]:
    """A sweep on its way out keeps to it."""
    ways: dict[str, list[SweepState]] = {
        "paused": ["running", "failed"], "stopping": ["stopped"], "cancelling": ["cancelled"],
    }  # fmt: skip
    return ways.get(state, ["failed"])
