"""Scheduling, on the database: which waiting trials run next, and the transaction that stores a planned pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy.orm import Session

from service.controller import removed_checkpoints
from service.controller.node import Needs, Node
from service.controller.node_room import OpenPack
from service.controller.placement import Capacity, fresh_packs, retry_packs
from service.store import attempts, open_trials, packs, quotas, sweeps, trials
from service.store.tables import Pack, Trial
from workers.spec.expand import TrialPlan
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

TrainableTrial = tuple[Trial, TrialSpec]

LOOK_AHEAD = 1_000
"""The largest number of waiting trials of one sweep, the first by number, that one tick considers."""


def trials_to_run(session: Session, sweep_id: str, limit: int = LOOK_AHEAD) -> list[Trial]:
    """Return the first ``limit`` waiting trials of a sweep that no user has stopped or cancelled.

    There are none unless the sweep is running or stopping. In a sweep that is stopping, ``sweep_lifecycle.settle``
    cancels those that never began, which may still be to come; ``plan_pack`` leaves them out.
    """
    if sweeps.get(session, sweep_id).state not in ("running", "stopping"):
        return []
    return open_trials.ready(session, sweep_id, limit)


def split_trainable(
    candidates: Sequence[Trial], plan: Callable[[Trial], TrialPlan]
) -> tuple[list[TrainableTrial], dict[str, str]]:
    """Split trials into those that can be trained and those that cannot.

    Args:
        candidates: The trials.
        plan: Returns a trial's specification, or why it cannot be trained.

    Returns:
        The trials that can be trained, each with its specification, and the reasons why the others cannot, by the
        trial's id.
    """
    trainable: list[TrainableTrial] = []
    reasons: dict[str, str] = {}
    for trial in candidates:
        planned = plan(trial)
        if planned.spec is None:
            reasons[trial.id] = planned.reason
        else:
            trainable.append((trial, planned.spec))
    return trainable, reasons


def fail_waiting(session: Session, sweep_id: str, reasons: Mapping[str, str]) -> None:
    """Move trials that cannot be trained from waiting to failed. Trials that wait no longer are left as they are.

    Args:
        session: A session in a write transaction.
        sweep_id: The sweep that the trials belong to.
        reasons: Why each trial cannot be trained, by the trial's id.
    """
    sweeps.lock(session, sweep_id)
    for trial_id, reason in reasons.items():
        trial = trials.get(session, trial_id)
        if trial.state == "waiting":
            trials.move(session, trial, "failed", reason)


def next_packs(
    session: Session, spec: SweepSpec, trainable: Sequence[TrainableTrial], capacity: Capacity
) -> list[list[Trial]]:
    """Group trials into packs, in the order in which they are to start.

    Trials that had begun come first, because a sweep that is stopping waits only for them.
    """
    candidates = [trial for trial, _ in trainable]
    lost = retry_packs(candidates, attempts.histories(session, [trial.id for trial in candidates]))
    retried = {trial.id for group in lost for trial in group}
    fresh = [(trial, trial_spec) for trial, trial_spec in trainable if trial.id not in retried]
    return [*lost, *fresh_packs(fresh, spec.resources, capacity, spec.repeats)]


def plan_pack(
    session: Session, sweep_id: str, trial_ids: Sequence[str], spec: SweepSpec, term: int, node: str | None = None
) -> Pack | None:
    """Store a planned pack and move its trials from waiting to running.

    A user may have paused, stopped, cancelled or changed the sweep or its trials since they were chosen. Trials that
    must not run any more are left out. A trial whose newest checkpoint was removed gets that as its reason.

    Args:
        session: A session in a write transaction.
        sweep_id: The sweep.
        trial_ids: The trials, in order.
        spec: The sweep's document.
        term: The leadership term that the pack is planned in.
        node: The id of the node for which it is planned; None if Ray chooses.

    Returns:
        The planned pack; None if no trial is left.
    """
    sweeps.lock(session, sweep_id)
    sweep = sweeps.get(session, sweep_id)
    if sweep.state not in ("running", "stopping"):
        return None
    chosen = [trials.get(session, trial_id) for trial_id in trial_ids]
    chosen = [trial for trial in chosen if trial.state == "waiting" and trial.wanted is None]
    if sweep.state == "stopping":
        # The sweep may have been stopped since ``settle`` ran: only trials that had begun and were lost may go on.
        lost = attempts.lost_trials(session, [trial.id for trial in chosen])
        chosen = [trial for trial in chosen if trial.id in lost]
    chosen = quotas.within(session, sweep_id, chosen)
    if not chosen:
        return None
    needs = spec.resources
    pack = packs.plan(session, chosen, needs.cpus, needs.gpus, term, needs.memory or 0, node)
    for trial in chosen:
        trials.move(session, trial, "running", removed_checkpoints.take_note(session, trial))
    return pack


def preempt(session: Session, pack: OpenPack, priority: int) -> None:
    """Have the trials of a pack pause, so that a sweep of a higher priority can run.

    Args:
        session: A session in a write transaction.
        pack: The pack.
        priority: The priority of the other sweep.
    """
    sweeps.lock(session, pack.sweep_id)
    packs.preempt(session, pack.id, f"preempted by a sweep of priority {priority}")


def stalled_sweeps(session: Session, nodes: Sequence[Node]) -> list[str]:
    """Return a message for each running sweep whose waiting trials need packs that fit on no node."""
    running = [sweep.id for sweep in sweeps.open_sweeps(session) if sweep.state == "running"]
    needs = {sweep_id: Needs.stored(found) for sweep_id, found in sweeps.resources(session, running).items()}
    cluster = Capacity(nodes)
    large = [sweep_id for sweep_id in running if sweep_id in needs and not cluster.can_ever_hold(needs[sweep_id])]
    waiting = open_trials.sweeps_with_ready(session, large)
    return [
        f"no node is large enough for {sweep_id}, which needs {needs[sweep_id].words}"
        for sweep_id in large
        if sweep_id in waiting
    ]
