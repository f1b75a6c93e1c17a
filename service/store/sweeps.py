"""Sweeps: creating them, moving them between states and listing them. The caller commits."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session, defer

from service import states
from service.states import DELETING, SWEEP_ENDED, SWEEP_OPEN, StoredSweepState, SweepVerb
from service.store import events, outbox, quotas, tags, webhooks
from service.store.errors import NotFound
from service.store.sweep_summary import SweepFacts, facts_of
from service.store.tables import LOCAL_OWNER, Sweep
from workers.spec.change import settled
from workers.spec.sweep import SweepSpec

_ID = re.compile(r"sw[0-9a-f]{10}")
_SHOWN: ColumnElement[bool] = Sweep.state != DELETING
"""Whether a sweep is there for users and the controller: one that is being deleted is not."""


class OpenSweep(NamedTuple):
    """A sweep that has not ended.

    Attributes:
        id: Its id.
        state: Its state.
        event_seq: The number of its last event, which grows with each change.
        owner: Whose it is.
        priority: Its priority.
        max_parallel: How many of its trials may run at the same time; None for any number.
        queued_at: Since when its trials may run.
    """

    id: str
    state: str
    event_seq: int
    owner: str = LOCAL_OWNER
    priority: int = 0
    max_parallel: int | None = None
    queued_at: float = 0.0


def create(
    session: Session,
    name: str,
    spec: dict[str, Any],
    trial_count: int,
    facts: SweepFacts | None = None,
    owner: str = LOCAL_OWNER,
    checkpoint_bytes: int | None = None,
) -> Sweep:
    """Store and return a new sweep in state queued, with its first event and its outbox entry.

    Args:
        session: A session in a write transaction.
        name: The user's name for the sweep.
        spec: The validated sweep document.
        trial_count: The number of trials that the sweep will have.
        facts: What follows from the document; None to compute it here, inside of the transaction.
        owner: Who submits it.
        checkpoint_bytes: About how many bytes its checkpoints will take; None if that is not known.
    """
    facts, now = facts or facts_of(SweepSpec.model_validate(spec)), time.time()
    sweep = Sweep(
        id=f"sw{secrets.token_hex(5)}",
        name=name,
        state="queued",
        spec=spec,
        trial_count=trial_count,
        owner=owner,
        checkpoint_bytes=checkpoint_bytes,
        created_at=now,
        queued_at=now,
        priority=spec.get("priority", 0),
        max_parallel=spec.get("max_parallel"),
        **facts._asdict(),
    )
    session.add(sweep)
    events.record_first(session, sweep, "sweep.queued", {"name": name, "trials": trial_count})
    if spec.get("tags"):
        tags.replace(session, sweep.id, spec["tags"])
    outbox.sweep_created(session, sweep)
    return sweep


def get(session: Session, sweep_id: str) -> Sweep:
    """Return the sweep; raise NotFound if there is none with this id, or if this cannot be the id of a sweep.

    A sweep that is being deleted is not there any more, for this and every other function of the module.
    """
    sweep = session.get(Sweep, sweep_id) if _ID.fullmatch(sweep_id) else None
    if sweep is None or sweep.state == DELETING:
        raise NotFound("sweep", sweep_id)
    return sweep


def trial_count(session: Session, sweep_id: str) -> int:
    """Return how many trials a sweep has or will have, without loading its document. Raise NotFound if there is none.

    The number grows whenever the document changes.
    """
    found = session.scalar(select(Sweep.trial_count).where(Sweep.id == sweep_id, _SHOWN))
    if found is None:
        raise NotFound("sweep", sweep_id)
    return found


def owner_of(session: Session, sweep_id: str) -> str | None:
    """Return who owns a sweep; None if there is no such sweep, or if this cannot be the id of one."""
    query = select(Sweep.owner).where(Sweep.id == sweep_id, _SHOWN)
    return session.scalar(query) if _ID.fullmatch(sweep_id) else None


def lock(session: Session, sweep_id: str) -> None:
    """Lock the sweep's row until the transaction ends. Raise NotFound if there is none.

    Every transaction that changes a sweep or its trials takes this lock before it locks any other row. Two such
    transactions can therefore never deadlock.
    """
    # a flush would lock the rows of changed trials first, which is the wrong order
    with session.no_autoflush:
        if session.scalar(select(Sweep.id).where(Sweep.id == sweep_id, _SHOWN).with_for_update()) is None:
            raise NotFound("sweep", sweep_id)


def get_locked(session: Session, sweep_id: str) -> Sweep:
    """Lock the sweep's row and return the sweep as the database holds it now. Raise NotFound if there is none."""
    lock(session, sweep_id)
    sweep = get(session, sweep_id)
    session.refresh(sweep)
    return sweep


def move(session: Session, sweep_id: str, to: StoredSweepState, reason: str | None = None) -> Sweep:
    """Move a sweep to another state, and store its times, an event and, if it ends or is reopened, an outbox entry.

    The messages about the end of a sweep that is reopened are withdrawn from the webhooks that have not got them yet.
    ``reason`` replaces the reason of the state before, also if it is None.

    Raises:
        NotFound: If there is no such sweep.
        states.IllegalMove: If the state in the database does not permit the move.
    """
    sweep = get_locked(session, sweep_id)
    before, now = sweep.state, time.time()
    sweep.state = states.move_sweep(before, to)  # type: ignore[arg-type]  # a column is plain text
    sweep.reason, sweep.eta_at = reason, None
    if to == "running" and sweep.started_at is None:
        sweep.started_at = now
    if to == "running" and before != "queued":
        sweep.queued_at = now
    if before in SWEEP_ENDED and to in SWEEP_OPEN:
        sweep.ended_at, sweep.archived = None, False
        outbox.sweep_reopened(session, sweep)
        webhooks.withdraw(session, sweep_id)
    if to in SWEEP_ENDED:
        sweep.ended_at = now
        outbox.sweep_ended(session, sweep)
        webhooks.sweep_ended(session, sweep)
    events.record(session, sweep_id, f"sweep.{to}", {"from": before, "reason": reason})
    return sweep


def note_eta(session: Session, sweep_id: str, eta_at: float) -> None:
    """Store when a sweep is expected to end, unless its state has changed so that this cannot be said. No event."""
    going = Sweep.state.in_(("running", "stopping"))
    session.execute(update(Sweep).where(Sweep.id == sweep_id, going).values(eta_at=eta_at))


def apply(session: Session, sweep_id: str, verb: SweepVerb) -> Sweep:
    """Move a sweep to the state that a user's verb leads to, and return it.

    A verb that leads to the state that the sweep is in, such as pause for a paused sweep, changes nothing.

    Raises:
        NotFound: If there is no such sweep.
        states.IllegalMove: If the sweep's state does not permit the verb.
    """
    sweep = get_locked(session, sweep_id)
    to = states.after_verb(sweep.state, verb)  # type: ignore[arg-type]  # a column is plain text
    return sweep if to == sweep.state else move(session, sweep_id, to)


_OF_QUEUE = ("priority", "max_parallel")
"""What can be changed of a sweep only while it is open."""


def change(session: Session, sweep_id: str, changes: Mapping[str, Any]) -> Sweep:
    """Change what a user may change of a sweep that was submitted, and return it. What is as it was, changes nothing.

    Trials that run already go on, also if they are more than may run from now on.

    Args:
        session: A session in a write transaction.
        sweep_id: The sweep.
        changes: What ``workers.spec.change.parse_change`` returned.

    Raises:
        SpecError: If the sweep would have too many tags.
        NotFound: If there is no such sweep.
        states.IllegalMove: If the sweep has ended or is being cancelled, and its place in the queue is to change; or if
            it has not ended, and is to be archived.
        QuotaExceeded: If the owner's sweeps may not have so high a priority.
    """
    sweep = get_locked(session, sweep_id)
    changes = settled(changes, sweep.spec.get("tags", []))
    if any(name in changes for name in _OF_QUEUE):
        states.after_verb(sweep.state, "change")  # type: ignore[arg-type]  # a column is plain text
    if changes.get("archived"):
        states.after_verb(sweep.state, "archive")  # type: ignore[arg-type]  # a column is plain text
    now = {name: getattr(sweep, name) for name in (*_OF_QUEUE, "archived")} | {"tags": sweep.spec.get("tags", [])}
    new = {name: value for name, value in changes.items() if now[name] != value}
    if not new:
        return sweep
    if "priority" in new:
        quotas.admit_priority(session, sweep.owner, new["priority"] or 0)
    for name, value in new.items():
        if name == "tags":
            tags.replace(session, sweep_id, value)
            outbox.sweep_tagged(session, sweep_id, value)
        else:
            setattr(sweep, name, value)
    sweep.spec = sweep.spec | {name: value for name, value in new.items() if name != "archived"}
    events.record(session, sweep_id, "sweep.changed", {"before": {name: now[name] for name in new}, "after": new})
    return sweep


def page(
    session: Session,
    wanted: Sequence[str] = (),
    limit: int = 50,
    before: tuple[float, str] | None = None,
    owner: str | None = None,
    *,
    archived: bool | None = None,
    having: Collection[str] = (),
) -> list[Sweep]:
    """Return one page of sweeps, the newest first, without their documents and advice.

    Args:
        session: A session.
        wanted: The states to include; all states if empty.
        limit: The largest number of sweeps to return.
        before: The (created_at, id) of the last sweep of the page before; None for the first page.
        owner: Whose sweeps to include; None for those of every owner.
        archived: Whether to include those that are archived or those that are not; None for both.
        having: Tags all of which they have; any sweep if empty.
    """
    query = select(Sweep).order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit)
    query = query.options(defer(Sweep.spec, raiseload=True), defer(Sweep.advice, raiseload=True))
    query = query.where(Sweep.state.in_(wanted) if wanted else _SHOWN)
    if owner is not None:
        query = query.where(Sweep.owner == owner)
    if archived is not None:
        query = query.where(Sweep.archived == archived)
    for tag in dict.fromkeys(having):
        query = query.where(tags.has(tag))
    return list(session.scalars(query.where(_older(before)) if before else query))


def open_sweeps(session: Session) -> list[OpenSweep]:
    """Return the sweeps that have not ended, the oldest first, without their documents."""
    since = func.coalesce(Sweep.queued_at, Sweep.created_at)
    columns = Sweep.id, Sweep.state, Sweep.event_seq, Sweep.owner, Sweep.priority, Sweep.max_parallel, since
    query = select(*columns).where(Sweep.state.in_(SWEEP_OPEN))
    return [OpenSweep(*row) for row in session.execute(query.order_by(Sweep.created_at, Sweep.id))]


def heads(session: Session, sweep_ids: Collection[str]) -> dict[str, tuple[int, str]]:
    """Return the number of the last event and the state of each of these sweeps that is there, by its id."""
    query = select(Sweep.id, Sweep.event_seq, Sweep.state).where(Sweep.id.in_(sweep_ids), _SHOWN)
    return {sweep_id: (seq, state) for sweep_id, seq, state in session.execute(query)}


def tasks_and_samplers(session: Session, sweep_ids: Collection[str]) -> dict[str, tuple[str | None, str | None]]:
    """Return the names of the task and the sampler of each of these sweeps, by its id; None for what is not said.

    Nothing else of their documents is loaded.
    """
    names = (Sweep.spec["task"]["name"].as_string(), Sweep.spec["search"]["sampler"].as_string())
    query = select(Sweep.id, *names).where(Sweep.id.in_(sweep_ids))
    return {sweep_id: (task, sampler) for sweep_id, task, sampler in session.execute(query)}


def resources(session: Session, sweep_ids: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the ``resources`` of the documents of these sweeps, by id; an earlier release may have left some out.

    The database reads them from the stored documents, of which nothing else is loaded.
    """
    query = select(Sweep.id, Sweep.spec["resources"]).where(Sweep.id.in_(sweep_ids))
    return {sweep_id: found or {} for sweep_id, found in session.execute(query)}


def counts(session: Session) -> dict[str, int]:
    """Return the number of sweeps in each state; a state without sweeps is left out."""
    rows = session.execute(select(Sweep.state, func.count()).where(_SHOWN).group_by(Sweep.state))
    return dict(rows.all())


def _older(than: tuple[float, str]) -> ColumnElement[bool]:
    created_at, sweep_id = than
    return or_(Sweep.created_at < created_at, and_(Sweep.created_at == created_at, Sweep.id < sweep_id))
