"""The tables of trials: each one, its reports and its checkpoints."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.metadata import Base


class Trial(Base):
    """One trial of a sweep.

    Attributes:
        number: The trial's place in its sweep, from 0.
        params: The values of the swept fields, by path, such as ``model.margin``.
        wanted: A verb, ``stop`` or ``cancel``, that a user gave and the controller has yet to carry out.
        pack_id: The pack of the last attempt; None before the first.
        step: The highest step whose metrics were reported; 0 before the first report.
        objective: The objective of the trial's best checkpoint; None if no checkpoint has one.
        best_step: The step of that checkpoint.
        user_failures: The number of attempts that failed because of what the user asked for.
        infrastructure_failures: The number of attempts that failed because of a machine or a disk, or were lost with
            their process while they were alone in their pack. Other lost attempts do not count.
        preemptions: The number of attempts that were ended from outside: by an order to Ray, or with their node.
        attempts_before: The number of attempts that the trial had when a user last had it run again; 0 if nobody did.
            They no longer count for its pauses, its packs and its reason, nor in the three numbers above.
        added_steps: How many training steps a user has given the trial after its end, beyond those of its point.
        reason: Why the trial is in its state, for a person to read; None if there is nothing to say.
    """

    __tablename__ = "trials"
    __table_args__ = (
        Index("uq_trials_number", "sweep_id", "number", unique=True),
        Index("ix_trials_ended", "ended_at", "id"),
    )

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
    preemptions: Mapped[int] = mapped_column(default=0, server_default="0")
    attempts_before: Mapped[int] = mapped_column(default=0, server_default="0")
    added_steps: Mapped[int] = mapped_column(default=0, server_default="0")
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(default=time.time)
    started_at: Mapped[float | None]
    ended_at: Mapped[float | None]


class TrialReport(Base):
    """The metrics of a trial at one step, as the first attempt to reach the step reported them."""

    __tablename__ = "reports"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    values: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)


class TrialCheckpoint(Base):
    """A complete checkpoint in the checkpoint store.

    Attributes:
        path: The checkpoint's folder.
        best: Whether the checkpoint was the trial's best by the objective when it was written.
        objective: The objective at this step; None if it was not measured.
        size: The number of bytes of its files; None if that is not known.
        removed_at: When it was noticed that the checkpoint is not on the disk any more; None if it is.
    """

    __tablename__ = "checkpoints"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    best: Mapped[bool] = mapped_column(default=False)
    objective: Mapped[float | None]
    at: Mapped[float] = mapped_column(default=time.time)
    size: Mapped[int | None] = mapped_column(BigInteger)
    removed_at: Mapped[float | None]
