"""Packs: groups of trials of one sweep that one runner trains together. The caller commits."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.store import attempts, events
from service.store.errors import NotFound
from service.store.tables import Attempt, Pack, Trial


def open_packs(session: Session, sweep_id: str | None = None) -> list[Pack]:
    """Return the planned and started packs, of one sweep or of all of them, the oldest first."""
    # the two states are named so that the index on the state finds them among all packs that have ended
    query = select(Pack).where(Pack.state.in_(("planned", "started"))).order_by(Pack.created_at, Pack.id)
    return list(session.scalars(query.where(Pack.sweep_id == sweep_id) if sweep_id else query))


def get(session: Session, pack_id: str) -> Pack:
    """Return the pack; raise NotFound if there is none with this id."""
    pack = session.get(Pack, pack_id)
    if pack is None:
        raise NotFound("pack", pack_id)
    return pack


def plan(
    session: Session,
    trials: Sequence[Trial],
    cpus: float,
    gpus: float,
    term: int,
    memory: int = 0,
    node: str | None = None,
) -> Pack:
    """Store and return a planned pack, with a new attempt for each of its trials. The trials keep their state.

    Args:
        session: A session in a write transaction.
        trials: The trials of the pack, at least one, all of one sweep.
        cpus: The number of CPUs that the runner takes.
        gpus: The number of GPUs that the runner takes.
        term: The leadership term that the pack is planned in.
        memory: The number of bytes that Ray sets aside for the runner.
        node: The id of the node that it is planned for; None if Ray chooses.
    """
    sweep_id = trials[0].sweep_id
    count = session.scalar(select(func.count()).select_from(Pack).where(Pack.sweep_id == sweep_id)) or 0
    pack = Pack(
        id=f"{sweep_id}-{count + 1}",
        sweep_id=sweep_id,
        state="planned",
        trial_ids=[trial.id for trial in trials],
        cpus=cpus,
        gpus=gpus,
        memory=memory,
        node=node,
        term=term,
        created_at=time.time(),
    )
    session.add(pack)
    session.flush()
    give(session, pack, trials)
    return pack


def give(session: Session, pack: Pack, trials: Sequence[Trial]) -> None:
    """Store a new attempt in a pack for each of some trials. The trials keep their state.

    A trial is given to a pack once at most, also over its attempts: its runner takes no trial a second time.
    """
    numbers = attempts.numbers(session, [trial.id for trial in trials])
    for trial in trials:
        number = numbers.get(trial.id, 0) + 1
        attempt = Attempt(trial_id=trial.id, number=number, pack_id=pack.id, from_step=trial.step)
        attempt.line_from = pack.last_seq
        session.add(attempt)
        trial.pack_id = pack.id
    session.flush()


def mark_started(session: Session, pack_id: str) -> None:
    """Mark a pack as started: its runner is there. Raise NotFound if there is no such pack."""
    get(session, pack_id).state = "started"


def last_ends(session: Session, sweep_ids: Collection[str]) -> dict[str, float]:
    """Return when the last pack of each of these sweeps has ended, by its id; sweeps without one are left out."""
    query = select(Pack.sweep_id, func.max(Pack.ended_at)).where(Pack.sweep_id.in_(sweep_ids))
    query = query.where(Pack.ended_at.is_not(None)).group_by(Pack.sweep_id)
    return {sweep_id: at for sweep_id, at in session.execute(query) if at is not None}


def preempt(session: Session, pack_id: str, reason: str) -> bool:
    """Note that the trials of an open pack are to pause so that others can run, with an event of its sweep.

    Args:
        session: A session in a write transaction, in which the pack's sweep is locked.
        pack_id: The pack.
        reason: Why, for a person to read.

    Returns:
        False if nothing was noted, because it has ended or was preempted before.
    """
    pack = get(session, pack_id)
    if pack.state == "ended" or pack.preempted is not None:
        return False
    pack.preempted = reason
    data = {"pack": pack_id, "trials": list(attempts.open_of_pack(session, pack_id)), "reason": reason}
    events.record(session, pack.sweep_id, "pack.preempted", data)
    return True


def reserve_command_numbers(session: Session, pack_id: str, count: int) -> int:
    """Take the next ``count`` numbers of commands to a pack's runner, and return the first of them.

    Raises:
        NotFound: If there is no such pack.
    """
    pack = get(session, pack_id)
    pack.command_seq += count
    return pack.command_seq - count + 1


def end(pack: Pack, reason: str | None = None) -> None:
    """Mark a pack as ended at the present time. ``reason`` says why it was lost or failed; None if neither."""
    pack.state, pack.reason, pack.ended_at = "ended", reason, time.time()
