"""Sweep lifecycle: create a sweep's trials, cancel those that must not run, and end the sweep once all have ended."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy.orm import Session

from service.states import SWEEP_ENDED, SweepState
from service.store import attempts, open_trials, packs, sweeps, trials
from service.store.tables import Sweep, Trial
from workers.protocol import diverged_at
from workers.spec.extension import next_points
from workers.spec.sweep import SweepSpec

MOST_CREATED = 1_000
"""The most trials of a sweep that one transaction creates, which keeps others waiting meanwhile. All trials of a point
are created together."""


def expand(session: Session, sweep_id: str, spec: SweepSpec) -> bool:
    """Create at most ``MOST_CREATED`` trials that the sampler is ready to propose, and move a queued sweep to running.

    Nothing is done in other states than queued and running. A paused sweep gets its trials when it resumes. A sweep
    that was stopped before its trials were all there, and goes on, has fewer of them than its document asks for.

    Returns:
        Whether the sampler may be ready to propose further trials at once.

    Raises:
        SamplerError: The sampler fails, or breaks its contract.
    """
    sweep = sweeps.get_locked(session, sweep_id)
    if sweep.state not in ("queued", "running"):
        return False
    earlier = trials.observations(session, sweep_id)
    batch = MOST_CREATED // spec.repeats * spec.repeats
    most = min(batch, sweep.trial_count - len(earlier))
    points = next_points(spec, earlier, most) if most > 0 else []
    trials.create(session, sweep, len(earlier), points)
    if sweep.state == "queued":
        sweeps.move(session, sweep_id, "running")
    return len(points) == batch and len(earlier) + len(points) < sweep.trial_count


def needs_settling(session: Session, sweep: Sweep) -> bool:
    """Return whether ``settle`` would cancel a trial or end the sweep. This only reads, and takes no lock."""
    if sweep.state in SWEEP_ENDED:
        return False
    return bool(_to_cancel(session, sweep)) or _all_ended(session, sweep)


def settle(session: Session, sweep_id: str) -> None:
    """Cancel the waiting trials that must not run, and end the sweep if all of its trials have ended.

    A sweep that was cancelled or stopped by a user ends as such. Any other has succeeded if one of its trials has
    succeeded, or was pruned with a result; else it has failed. Nothing is done if the sweep has ended already.
    """
    sweep = sweeps.get_locked(session, sweep_id)
    if sweep.state in SWEEP_ENDED:
        return
    for trial in _to_cancel(session, sweep):
        trials.move(session, trial, "cancelled", _cancel_reason(sweep, trial))
    session.flush()
    if _all_ended(session, sweep):
        _end(session, sweep)


def fail(session: Session, sweep_id: str, reason: str) -> None:
    """End a sweep that cannot go on, together with its packs and trials. Its runners must have ended already.

    Its open attempts end as cancelled, its unfinished trials fail, and the sweep fails; but a sweep that is stopping or
    cancelling becomes stopped or cancelled. A sweep that has ended keeps its state.
    """
    sweep = sweeps.get_locked(session, sweep_id)
    for pack in packs.open_packs(session, sweep_id):
        for attempt in attempts.open_of_pack(session, pack.id).values():
            attempts.end(attempt, "cancelled", None, reason)
        packs.end(pack, reason)
    for trial in open_trials.unfinished(session, sweep_id):
        trials.move(session, trial, "failed", reason)
    if sweep.state not in SWEEP_ENDED:
        for step in _path_to_failure(sweep.state):
            sweeps.move(session, sweep_id, step, reason)


def _all_ended(session: Session, sweep: Sweep) -> bool:
    """Return whether all trials have ended and none will be added. One that stops or is being cancelled adds none."""
    complete = sweep.state in ("stopping", "cancelling") or trials.count(session, sweep.id) >= sweep.trial_count
    return complete and not open_trials.any_unfinished(session, sweep.id)


def _to_cancel(session: Session, sweep: Sweep) -> list[Trial]:
    """Return the waiting trials that must not run.

    These are all waiting trials of a sweep that is being cancelled, else those that a user has stopped or cancelled.
    A sweep that is stopping cancels the others too, except those that had begun and wait only because their pack was
    lost: it still finishes these.
    """
    if sweep.state == "cancelling":
        return open_trials.in_state(session, sweep.id, "waiting")
    if sweep.state == "stopping":
        waiting = open_trials.in_state(session, sweep.id, "waiting")
        lost = attempts.lost_trials(session, [trial.id for trial in waiting])
        return [trial for trial in waiting if trial.wanted or trial.id not in lost]
    return open_trials.waiting_with_verb(session, sweep.id)


def _cancel_reason(sweep: Sweep, trial: Trial) -> str:
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
    # the last trials of a paused sweep may end before the pause reaches their runners
    if sweep.state == "paused":
        sweeps.move(session, sweep.id, "running")
    ended = trials.tally(session, [sweep.id])[sweep.id]
    if "succeeded" in ended or open_trials.any_pruned_with_result(session, sweep.id):
        sweeps.move(session, sweep.id, "succeeded")
        return
    sweeps.move(session, sweep.id, "failed", _why_no_result(session, sweep, ended))


def _why_no_result(session: Session, sweep: Sweep, tally: Mapping[str, tuple[int, int]]) -> str:
    """Return why a sweep has failed of which no trial gave a result.

    If the numbers of all trials became NaN or infinite, the first step at which that happened is named.

    Args:
        session: A session.
        sweep: The sweep, all of whose trials have ended.
        tally: What ``trials.tally`` has of it.
    """
    failed = open_trials.in_state(session, sweep.id, "failed")
    steps = [(step, trial) for trial in failed if (step := diverged_at(trial.reason)) is not None]
    if steps and len(steps) == len(failed) and tally.keys() == {"failed"}:
        step, first = min(steps, key=lambda found: (found[0], found[1].number))
        return (
            f"the numbers of all trials ({len(failed)}) became NaN or infinite, first at step {step}: "
            f"trial {first.number}: {first.reason}"
        )
    counts = ", ".join(f"{count} {state}" for state, (count, _) in sorted(tally.items()))
    cause = f"; trial {failed[0].number}: {failed[0].reason}" if failed else ""
    return f"no trial gave a result ({counts}){cause}"


def _path_to_failure(state: str) -> list[SweepState]:
    """Return the states that a failing sweep passes, without ``state`` itself; the last is the one it ends in.

    A sweep that is stopping or cancelling ends as it would have without the failure.
    """
    paths: dict[str, list[SweepState]] = {
        "paused": ["running", "failed"],
        "stopping": ["stopped"],
        "cancelling": ["cancelled"],
    }
    return paths.get(state, ["failed"])
