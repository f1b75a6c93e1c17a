"""What follows for a sweep from where its trials stand: waiting ones cancelled, the sweep expanded, ended or failed."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.states import SWEEP_ENDED, SweepState
from service.store import attempts, open_trials, packs, sweeps, trials
from service.store.tables import Sweep, Trial
from workers.spec.expand import params_of
from workers.spec.sweep import SweepSpec


def expand(session: Session, sweep_id: str, spec: SweepSpec) -> None:
    """Make the trials of a sweep that has none, and let a queued one run. Paused ones are expanded when they go on."""
    sweep = sweeps.get_locked(session, sweep_id)
    if sweep.state not in ("queued", "running"):
        return
    if not open_trials.exist(session, sweep_id):
        trials.create_all(session, sweep, params_of(spec))
    if sweep.state == "queued":
        sweeps.move(session, sweep_id, "running")


def due(session: Session, sweep: Sweep) -> bool:
    """Whether ``settle`` would change anything; a look without a lock."""
    if sweep.state in SWEEP_ENDED:
        return False
    return bool(_to_cancel(session, sweep)) or (
        _expanded(session, sweep) and not open_trials.unfinished(session, sweep.id)
    )


def settle(session: Session, sweep_id: str) -> None:
    """Cancel what waits and shall not run any more; end the sweep once all its trials have ended."""
    sweep = sweeps.get_locked(session, sweep_id)
    if sweep.state in SWEEP_ENDED:
        return
    for trial in _to_cancel(session, sweep):
        trials.move(session, trial, "cancelled", _why(sweep, trial))
    session.flush()
    if _expanded(session, sweep) and not open_trials.unfinished(session, sweep_id):
        _end(session, sweep)


def fail(session: Session, sweep_id: str, reason: str) -> None:
    """End a sweep that cannot go on, with all of its trials; its runners must be gone already."""
    sweep = sweeps.get_locked(session, sweep_id)
    for pack in packs.open_packs(session, sweep_id):
        for attempt in attempts.open_of_pack(session, pack.id).values():
            attempts.end(attempt, "cancelled", None, reason)
        packs.end(pack, reason)
    for trial in open_trials.unfinished(session, sweep_id):
        trials.move(session, trial, "failed", reason)
    if sweep.state not in SWEEP_ENDED:
        for step in _way_to_failure(sweep.state):
            sweeps.move(session, sweep_id, step, reason)


def _expanded(session: Session, sweep: Sweep) -> bool:
    """A sweep that is to end needs no trials for it."""
    if sweep.state in ("stopping", "cancelling"):
        return True
    return open_trials.exist(session, sweep.id)


def _to_cancel(session: Session, sweep: Sweep) -> list[Trial]:
    """Waiting trials that shall not run. A sweep that stops lets those finish that only wait because they were lost."""
    if sweep.state == "cancelling":
        return open_trials.in_state(session, sweep.id, "waiting")
    if sweep.state == "stopping":
        waiting = open_trials.in_state(session, sweep.id, "waiting")
        last = attempts.latest(session, [trial.id for trial in waiting])
        return [t for t in waiting if t.wanted or t.id not in last or last[t.id].outcome != attempts.LOST]
    return open_trials.waiting_with_verb(session, sweep.id)


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
    if "succeeded" in ended or open_trials.any_pruned_with_result(session, sweep.id):
        sweeps.move(session, sweep.id, "succeeded")
        return
    counts = ", ".join(f"{count} {state}" for state, (count, _) in sorted(ended.items()))
    first = open_trials.first_failed(session, sweep.id)
    cause = f"; trial {first.number}: {first.reason}" if first else ""
    sweeps.move(session, sweep.id, "failed", f"no trial gave a result ({counts}){cause}")


def _way_to_failure(state: str) -> list[SweepState]:
    """A sweep on its way out keeps to it."""
    ways: dict[str, list[SweepState]] = {
        "paused": ["running", "failed"], "stopping": ["stopped"], "cancelling": ["cancelled"],
    }  # fmt: skip
    return ways.get(state, ["failed"])
