"""The tables, which are the source of truth. The state of Ray, of MLflow and of the web page follows from these rows.

Times are in seconds since the Unix epoch. JSON columns hold plain documents.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, MetaData, String, Text, false, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

LOCAL_OWNER = "local"
"""The owner of what is stored while no tokens are required, and of what releases without owners stored."""

_NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base of all tables. A ``dict`` or a ``list`` is stored as JSON."""

    metadata = MetaData(naming_convention=_NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSON, list[Any]: JSON}


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


class Lease(Base):
    """The controllers' lease: who leads, and until when.

    Attributes:
        holder: The unique name of the controller that leads, or led last if the lease has expired.
        term: A number that grows with each new leader. A write under an older term is refused.
    """

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    term: Mapped[int]
    expires_at: Mapped[float]


class Component(Base):
    """The health of a component (``controller``, ``ray`` or ``mlflow``), as the controller last observed it.

    The row ``queue`` has what waiting sweeps wait for (``store.queue``).

    Attributes:
        message: One line for a person to read.
        detail: Further facts for programs to read.
    """

    __tablename__ = "components"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    healthy: Mapped[bool]
    message: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)


class Owner(Base):
    """Who may own tokens and sweeps, and how much of the service is theirs at a time. A limit of None is the default.

    Attributes:
        requests_per_second: How many requests each process of the API answers.
        running_trials: How many trials are trained at the same time.
        open_sweeps: How many sweeps may be submitted that have not ended.
        open_trials: How many trials these sweeps may have together.
        stored_bytes: How many bytes the checkpoints of all their sweeps may take when a sweep is submitted.
        weight: Their part of the cluster while it is short, compared with the weights of others.
        running_cpus: How many CPUs their packs take at the same time.
        running_gpus: How many GPUs their packs take at the same time.
        highest_priority: The highest priority of their sweeps.
    """

    __tablename__ = "owners"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    requests_per_second: Mapped[float | None]
    running_trials: Mapped[int | None]
    open_sweeps: Mapped[int | None]
    open_trials: Mapped[int | None]
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    weight: Mapped[float | None]
    running_cpus: Mapped[float | None]
    running_gpus: Mapped[float | None]
    highest_priority: Mapped[int | None]
    created_at: Mapped[float] = mapped_column(default=time.time)


class Token(Base):
    """A token that admits requests. Its text is not stored, and was shown once.

    Attributes:
        id: The public part of the text.
        digest: The SHA-256 of the whole text. The text has 256 random bits, so a slower hash would add nothing.
        scope: ``read``, ``submit`` or ``admin``.
        expires_at: From when on it admits nothing; None for never.
        revoked_at: When it was revoked; None if it was not.
        used_at: When it was last used, to within a few minutes; None if it never was.
    """

    __tablename__ = "tokens"

    id: Mapped[str] = mapped_column(String(20), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), index=True, unique=True)
    owner: Mapped[str] = mapped_column(ForeignKey("owners.name"), index=True)
    scope: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]
    used_at: Mapped[float | None]


class PageSession(Base):
    """A browser that has signed in with a token. It is admitted as long as its token is, at most until ``expires_at``.

    Attributes:
        digest: The SHA-256 of the cookie's 256 random bits.
    """

    __tablename__ = "sessions"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(ForeignKey("tokens.id"), index=True)
    created_at: Mapped[float] = mapped_column(default=time.time)
    expires_at: Mapped[float] = mapped_column(index=True)


class AuditEntry(Base):
    """One request that changed something or was refused, or one command of an administrator.

    Attributes:
        owner: Who made it; None if that is not known.
        token_id: The token's public part; None without a token.
        action: The method and the path, or the command.
        subject: The id of the sweep, trial or token that it was about; None if there is none.
        client: The address that it came from; ``command line`` for a command.
        status: The HTTP status of the answer; 200 for a command.
        reason: Why it was refused; None if it was not.
    """

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(index=True, default=time.time)
    owner: Mapped[str | None] = mapped_column(String(60))
    token_id: Mapped[str | None] = mapped_column(String(20))
    action: Mapped[str] = mapped_column(String(200))
    subject: Mapped[str | None] = mapped_column(String(48))
    client: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(200))
