"""The tables of sweeps: each one, its tags, the key with which it was submitted, and what stays after it is deleted."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.access import LOCAL_OWNER
from service.store.tables.metadata import Base


class Sweep(Base):
    """A sweep: its document as it was submitted and validated, and its state.

    Attributes:
        spec: The sweep document after validation.
        trial_count: The number of trials that the document describes; the rows of ``trials`` are created later.
        event_seq: The number of the sweep's last event, 0 before the first. It is increased under the row's lock, which
            keeps the events in order.
        reason: Why the sweep is in its state, for a person to read; None if there is nothing to say.
        checkpoint_bytes: About how many bytes its checkpoints will take, as was estimated when it was submitted; None
            if an earlier release took it.
        metric: The metric by which trials are ranked. It and the following are the ``SweepFacts`` of the document.
        direction: ``minimize`` or ``maximize``.
        planned_steps: The steps of all trials, if none ends early.
        steps_vary: Whether trials have different numbers of steps.
        advice: The warnings about the document; None if an earlier release stored the sweep.
        owner: Who submitted it. Only the owner and administrators can see it.
        priority: That of the document, which a user may change; the greater comes first.
        max_parallel: How many of its trials may run at the same time, likewise; None for any number.
        queued_at: When it was submitted, resumed or reopened: since when its trials may run. None if an earlier release
            stored it.
        eta_at: When it is expected to end, as the controller last computed it; None if it has not, or cannot.
        archived: Whether lists leave it out unless they are asked for it. Only a sweep that has ended is archived.
    """

    __tablename__ = "sweeps"
    __table_args__ = (
        Index("ix_sweeps_created", "created_at", "id"),
        Index("ix_sweeps_owner", "owner", "created_at", "id"),
        Index("ix_sweeps_archived", "archived", "created_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    state: Mapped[str] = mapped_column(String(20), index=True)
    spec: Mapped[dict[str, Any]]
    trial_count: Mapped[int]
    event_seq: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(default=time.time)
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    checkpoint_bytes: Mapped[int | None] = mapped_column(BigInteger)
    metric: Mapped[str] = mapped_column(String(80), server_default="val/loss")
    direction: Mapped[str] = mapped_column(String(8), server_default="minimize")
    planned_steps: Mapped[int] = mapped_column(BigInteger, server_default="0")
    steps_vary: Mapped[bool] = mapped_column(server_default=false())
    advice: Mapped[dict[str, Any] | None]
    owner: Mapped[str] = mapped_column(String(60), default=LOCAL_OWNER, server_default=LOCAL_OWNER)
    priority: Mapped[int] = mapped_column(default=0, server_default="0")
    max_parallel: Mapped[int | None]
    queued_at: Mapped[float | None]
    eta_at: Mapped[float | None]
    archived: Mapped[bool] = mapped_column(default=False, server_default=false())


class SweepTag(Base):
    """A tag of a sweep: a word by which users find it again. The sweep's document has the same ones."""

    __tablename__ = "sweep_tags"
    __table_args__ = (Index("ix_sweep_tags_tag", "tag", "sweep_id"),)

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(40), primary_key=True)


class IdempotencyKey(Base):
    """A key that a client sent with a new sweep. The same key of the same owner again returns the same sweep.

    Attributes:
        owner: The owner of the sweep. The keys of two owners have nothing to do with each other.
        body_hash: The hash of the request's body, which must be the same when the key comes again.
    """

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(String(60), primary_key=True, default=LOCAL_OWNER, server_default=LOCAL_OWNER)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"))
    created_at: Mapped[float] = mapped_column(default=time.time)


class RemovedSweep(Base):
    """A sweep that was deleted. The row stays for ever, so that what comes late of the sweep is recognised.

    Attributes:
        id: The id of the sweep, which has no row of its own any more once ``rows_at`` is set.
        at: When it was deleted.
        folders: The folders of its checkpoints.
        experiments: The ids of the MLflow experiments that held its runs.
        rows_at: When the last of its rows was deleted; None before.
        files_at: When it was last seen that none of its folders is there; None before.
        runs_at: When it was last seen that MLflow has none of its runs but those that the registry needs; None before.
        done_at: When all of it had been gone for a while, so that nobody looks at it any more; None before.
    """

    __tablename__ = "removed_sweeps"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    owner: Mapped[str] = mapped_column(String(60))
    at: Mapped[float]
    folders: Mapped[list[Any]]
    experiments: Mapped[list[Any]]
    rows_at: Mapped[float | None]
    files_at: Mapped[float | None]
    runs_at: Mapped[float | None]
    done_at: Mapped[float | None] = mapped_column(index=True)
