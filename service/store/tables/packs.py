"""The tables of packs: each one, the attempts in it, the lines that its runner prints, and what it cost."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.metadata import Base


class Pack(Base):
    """A group of trials that one runner trains together. Its state goes from planned over started to ended.

    Attributes:
        trial_ids: The ids of the trials that the pack was planned with. Others that it was given have attempts in it.
        cpus: The number of CPUs that the runner takes.
        gpus: The number of GPUs that the runner takes.
        memory: The number of bytes that Ray sets aside for the runner; 0 for none.
        node: The id in Ray of the node for which it was planned, or on which its runner says that it is; None if an
            earlier release planned it.
        preempted: Why its trials are to pause so that others can run, for a person to read; None if they are not.
        term: The leadership term in which the pack was planned.
        last_seq: The highest number of a report or line that was taken from the runner; 0 before the first.
        command_seq: The highest number given to a command for the runner; 0 before the first.
        reason: Why the pack was lost or failed; None if neither.
        seen_at: When the runner last answered a poll, to within a few seconds; None if it has not answered yet.
    """

    __tablename__ = "packs"

    id: Mapped[str] = mapped_column(String(48), primary_key=True)
    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id"), index=True)
    state: Mapped[str] = mapped_column(String(20), index=True)
    trial_ids: Mapped[list[Any]]
    cpus: Mapped[float]
    gpus: Mapped[float]
    memory: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    node: Mapped[str | None] = mapped_column(String(64))
    preempted: Mapped[str | None] = mapped_column(Text)
    term: Mapped[int]
    last_seq: Mapped[int] = mapped_column(default=0)
    command_seq: Mapped[int] = mapped_column(default=0)
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(default=time.time)
    seen_at: Mapped[float | None]
    ended_at: Mapped[float | None]


class Attempt(Base):
    """One attempt to train a trial, in one pack.

    Attributes:
        number: The attempt's place among the trial's attempts, from 1.
        from_step: The trial's step when the attempt was planned.
        outcome: How the attempt ended, as the runner reported it; ``lost`` if the runner was gone; ``moved`` if the
            trial goes on in another pack; ``cancelled`` if the controller failed the whole sweep; None while the
            attempt is open.
        cause: What a failure needs (``workers.protocol.Cause``), or the failure domain of a lost attempt
            (``attempts.FailureDomain``); ``preemption`` if it was paused so that others can run; else None.
        reason: Why the attempt ended, for a person to read.
        log: The last lines of what the runner, or Ray, logged about a failure; None if there are none.
        line_from: The lines of its pack above this number belong to it.
        line_to: The number of its last report, up to which they do; None if there is none.
    """

    __tablename__ = "attempts"

    trial_id: Mapped[str] = mapped_column(ForeignKey("trials.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    pack_id: Mapped[str] = mapped_column(ForeignKey("packs.id"), index=True)
    from_step: Mapped[int] = mapped_column(default=0)
    outcome: Mapped[str | None] = mapped_column(String(20))
    cause: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    log: Mapped[str | None] = mapped_column(Text)
    line_from: Mapped[int] = mapped_column(default=0, server_default="0")
    line_to: Mapped[int | None]
    started_at: Mapped[float] = mapped_column(default=time.time)
    ended_at: Mapped[float | None]


class PackLine(Base):
    """One line that the runner of a pack has printed or logged, as ``workers.protocol.OutputLine`` describes it.

    Attributes:
        seq: The line's number, in the series of the numbers of the pack's reports.
        trial_id: The trial that the line is about; None if it is about the whole pack.
        at: When it was printed, on the clock of the runner's machine.
        left_out: For how many lines that were left out it stands; 0 if it is a line itself.
    """

    __tablename__ = "pack_lines"

    pack_id: Mapped[str] = mapped_column(ForeignKey("packs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str | None] = mapped_column(String(48))
    at: Mapped[float]
    stream: Mapped[str] = mapped_column(String(10))
    level: Mapped[str | None] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(Text)
    left_out: Mapped[int] = mapped_column(default=0)


class CostSample(Base):
    """What was measured of one pack: ``workers.spec.cost.MeasuredCost`` has the meaning of each column.

    There are a few rows for each shape of trials and number of trials at once, the newest ones.
    """

    __tablename__ = "cost_samples"
    __table_args__ = (Index("ix_cost_samples_shape", "shape", "size", "source"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(String(20))
    shape: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(32))
    device: Mapped[str] = mapped_column(String(120))
    cpus: Mapped[float]
    gpus: Mapped[float]
    trials: Mapped[int]
    size: Mapped[int]
    work: Mapped[float]
    steps: Mapped[int]
    step_seconds: Mapped[float]
    evaluation_seconds: Mapped[float | None]
    checkpoint_seconds: Mapped[float | None]
    start_seconds: Mapped[float | None]
    peak_bytes: Mapped[int | None] = mapped_column(BigInteger)
    gpu_peak_bytes: Mapped[int | None] = mapped_column(BigInteger)
    at: Mapped[float] = mapped_column(default=time.time)
