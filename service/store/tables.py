"""The tables: what is true of every sweep. MLflow, Ray and the pages are derived from these rows.

Times are seconds since the Unix epoch, UTC. JSON columns hold plain documents. ``wanted`` on a trial is a verb that
a user gave and the controller has yet to carry out.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, Index, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[Any]: JSON}


class Sweep(Base):
    """``event_seq``: number of the sweep's last event, moved under the row's lock: events are never out of order."""

    __tablename__ = "sweeps"
    __table_args__ = (Index("ix_sweeps_created", "created_at", "id"),)

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


class Trial(Base):
    """``objective``: the best value so far, at ``best_step``; ``step``: the last one reported."""

    __tablename__ = "trials"
    __table_args__ = (Index("uq_trials_number", "sweep_id", "number", unique=True),)

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"))
    number: Mapped[int]
    params: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(20), index=True)
    wanted: Mapped[str | None] = mapped_column(String(20))
    pack_id: Mapped[str | None] = mapped_column(String(48))
    step: Mapped[int] = mapped_column(default=0)
    objective: Mapped[float | None]
    best_step: Mapped[int | None]
    user_failures: Mapped[int] = mapped_column(default=0)
    infrastructure_failures: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(default=time.time)
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]


class Pack(Base):
    """One runner: planned -> started -> ended. ``last_seq``: reports taken in; ``command_seq``: last command given."""

    __tablename__ = "packs"

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)
    trial_ids: Mapped[list[Any]]
    cpus: Mapped[float]
    gpus: Mapped[float]
    term: Mapped[int]
    last_seq: Mapped[int] = mapped_column(default=0)
    command_seq: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(default=time.time)
    seen_at: Mapped[float | None]
    ended_at: Mapped[float | None]


class Attempt(Base):
    """One try at a trial, in one pack; ``outcome`` as the runner said, or lost."""

    __tablename__ = "attempts"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    pack_id: Mapped[str] = mapped_column(ForeignKey("packs.id"), index=True)
    from_step: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[str | None] = mapped_column(String(20))
    cause: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[float] = mapped_column(default=time.time)
    ended_at: Mapped[float | None]


class TrialReport(Base):
    """Metrics of a trial at a step: each step once, whichever attempt told it first."""

    __tablename__ = "reports"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)


class TrialCheckpoint(Base):
    """A whole checkpoint in the checkpoint store."""

    __tablename__ = "checkpoints"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    best: Mapped[bool] = mapped_column(default=False)
    objective: Mapped[float | None]
    at: Mapped[float] = mapped_column(default=time.time)


class Event(Base):
    """What happened in a sweep, in order; ``seq`` is the id of the event stream."""

    __tablename__ = "events"

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    trial_id: Mapped[str | None] = mapped_column(String(48))
    data: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)


class OutboxEntry(Base):
    """Something MLflow has yet to be told; deleted once told. Telling twice adds nothing."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), index=True)
    trial_id: Mapped[str | None] = mapped_column(String(48))
    kind: Mapped[str] = mapped_column(String(20))
    payload: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)


class Projection(Base):
    """Where a sweep or trial stands in MLflow: experiment and run."""

    __tablename__ = "projections"

    subject_id: Mapped[str] = mapped_column(String(48), primary_key=True)
    experiment_id: Mapped[str] = mapped_column(String(64))
    run_id: Mapped[str] = mapped_column(String(64))


class IdempotencyKey(Base):
    __tablename__ = "idempotency_keys"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    body_hash: Mapped[str] = mapped_column(String(64))
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"))
    created_at: Mapped[float] = mapped_column(default=time.time)


class Lease(Base):
    """Who leads. ``term`` grows with each new holder; writes under an older term are refused."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    term: Mapped[int]
    expires_at: Mapped[float]


class Component(Base):
    """What the controller last saw of a part of the system (controller, ray, mlflow); ``detail`` is for readers."""

    __tablename__ = "components"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    healthy: Mapped[bool]
    message: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)
