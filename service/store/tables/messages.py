"""The tables of what others are told: events for clients, facts for MLflow, messages for webhooks."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, false, text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.metadata import Base


class Event(Base):
    """One change in a sweep or one of its trials.

    Attributes:
        seq: The event's number in its sweep, from 1 and without gaps; it is the id in the event stream.
        kind: The kind of change, such as ``sweep.running`` or ``trial.metrics``.
    """

    __tablename__ = "events"

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(40))
    trial_id: Mapped[str | None] = mapped_column(String(48))
    data: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)


class OutboxEntry(Base):
    """A fact that MLflow has yet to receive. It may be sent more than once without harm, and is deleted afterwards.

    Attributes:
        trial_id: The trial that the fact is about; None for a fact about the sweep itself.
        kind: ``sweep`` or ``trial`` (it was created), ``metrics``, ``checkpoint``, ``ended``, ``reopened`` (it had
            ended, and goes on), or ``tags`` (the sweep has others).
        payload: What MLflow has to be told; its fields depend on the kind.
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), index=True)
    trial_id: Mapped[str | None] = mapped_column(String(48))
    kind: Mapped[str] = mapped_column(String(20))
    payload: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)


class Projection(Base):
    """Which MLflow experiment and run hold what is told of a sweep or of a trial.

    Attributes:
        subject_id: The id of the sweep or trial.
        deleted: Whether the run was deleted in MLflow and not restored there. Nothing is written to such a run.
        lacks: What MLflow lacks of the sweep or trial, and why, for a person to read; None if it lacks nothing.
        model_id: The logged model of a trial's best checkpoint; None if there is none, or if a release up to 0.2 logged
            it, which gave it the name ``model``.
    """

    __tablename__ = "projections"
    __table_args__ = (
        Index(
            "ix_projections_lacks",
            "subject_id",
            sqlite_where=text("lacks IS NOT NULL"),
            postgresql_where=text("lacks IS NOT NULL"),
        ),
    )

    subject_id: Mapped[str] = mapped_column(String(48), primary_key=True)
    experiment_id: Mapped[str] = mapped_column(String(64))
    run_id: Mapped[str] = mapped_column(String(64))
    deleted: Mapped[bool] = mapped_column(default=False, server_default=false())
    lacks: Mapped[str | None] = mapped_column(Text)
    model_id: Mapped[str | None] = mapped_column(String(64))


class Webhook(Base):
    """An HTTP server that is told what has ended. Its address and secret are in the operator's file alone.

    Attributes:
        events: The kinds of message that it wants.
    """

    __tablename__ = "webhooks"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    events: Mapped[list[Any]]


class WebhookMessage(Base):
    """A message that a webhook has yet to get. It may be sent more than once, with the same id.

    Attributes:
        webhook: The name of the webhook.
        kind: ``sweep.ended`` or ``trial.ended``.
        trial_id: The trial that has ended; None if it is the sweep.
        at: When it ended.
        tries: How often sending it has failed.
        gave_up: Whether it is not tried again.
        last_error: Why the last try failed.
    """

    __tablename__ = "webhook_messages"
    __table_args__ = (Index("ix_webhook_messages_next", "webhook", "gave_up", "tries", "at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    webhook: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(20))
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"))
    trial_id: Mapped[str | None] = mapped_column(String(48))
    at: Mapped[float]
    tries: Mapped[int] = mapped_column(default=0)
    gave_up: Mapped[bool] = mapped_column(default=False)
    last_error: Mapped[str | None] = mapped_column(Text)
