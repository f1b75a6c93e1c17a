"""The messages between the controller and a pack runner. They cross Ray as plain dicts.

The controller creates a runner from an ``Assignment`` and then pulls: ``poll(after_seq, term)`` returns a ``Poll``, and
``command(term, command)`` changes which trials run.

Both calls may be repeated safely. Reports, and the lines that the runner's process prints, are numbered together from 1
in ascending order and kept until a poll acknowledges them with its ``after_seq``, so the first poll passes 0. A number
says therefore what was printed before which report. Commands have numbers too, and a repeated number is ignored.

Every call carries the term of the controller's lease. A runner remembers the highest term it has seen and raises
``StaleTerm`` on a lower one, because the caller has been replaced by another leader.

This module needs only pydantic: it imports neither torch nor ray.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.spec.trial import TrialSpec

Outcome = Literal["succeeded", "failed", "pruned", "cancelled", "paused", "moved"]
Cause = Literal["user", "infrastructure", "memory", "storage"]
"""What a failure needs. ``user``: the user has to change the sweep or its data. ``infrastructure``: another attempt, if
need be on another machine, can succeed with the same sweep. ``memory``: memory ran out, so that a smaller pack can
succeed. ``storage``: the checkpoint store is full, read-only or failing; another attempt succeeds once it is mended."""


class StaleTerm(RuntimeError):
    """The caller's term is lower than one that the runner has seen: another controller has become the leader."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AssignedTrial(_Message):
    """One trial of an assignment.

    ``checkpoint_dir`` is the folder of this trial's checkpoints. Training resumes from the newest complete one in it,
    or starts at step 0 if there is none.
    """

    trial_id: str
    spec: TrialSpec
    checkpoint_dir: str


class Assignment(_Message):
    """The trials that one runner trains together as a pack. All of them have the same shape key.

    ``attempt`` counts the starts of this pack from 0, ``term`` is that of the controller's lease, ``cpus`` and ``gpus``
    are for the whole pack, and ``data_dir`` is the folder of data sets; None for the one in the user's cache.
    Checkpoints at multiples of ``keep_every`` steps are kept beside those that training needs; None: no others.
    ``memory``, ``labels`` and ``node`` are for Ray: the bytes that it sets aside, what is wanted of the node's labels,
    and the id of the node to prefer.
    """

    pack_id: str
    attempt: int = Field(ge=0)
    term: int = Field(ge=0)
    trials: list[AssignedTrial] = Field(min_length=1)
    cpus: float
    gpus: float
    memory: int = 0
    labels: dict[str, str] = {}
    node: str | None = None
    data_dir: str | None = None
    keep_every: int | None = None
    orphan_ttl: float = Field(
        default=600.0, gt=0, description="seconds without a poll after which the runner pauses all trials and exits"
    )
    idle_seconds: float = Field(
        default=0.0, ge=0, description="seconds for which the runner waits for others once all of its trials have ended"
    )


class Measured(_Message):
    """A report of a trial's metrics after ``step`` optimiser steps, by their MLflow names. Every value is finite.

    A runner that resumes a trial sends the reports of earlier steps again, with the same values and new numbers
    ``seq``. The receiver recognises them by trial and step.
    """

    kind: Literal["metrics"] = "metrics"
    seq: int
    trial_id: str
    step: int
    values: dict[str, float]


class Checkpointed(_Message):
    """A report that a complete checkpoint is on disk, in the folder ``path``.

    ``best`` is true if its objective is better than that of every earlier checkpoint, and false if it is only as good.
    ``objective`` is None if the checkpoint was written for a pause and not for a report; ``best`` is then false.
    ``size`` is the number of bytes of its files, and ``kept`` has the steps of all checkpoints of the trial that are on
    disk now. A runner of an earlier release gives neither.
    """

    kind: Literal["checkpointed"] = "checkpointed"
    seq: int
    trial_id: str
    step: int
    path: str
    best: bool
    objective: float | None
    size: int | None = None
    kept: list[int] | None = None


class Ended(_Message):
    """The last report of a trial from this runner.

    The outcomes ``paused`` and ``moved`` mean that a checkpoint was written and that another runner may resume the
    trial: one day, or as soon as it has a place in its pack. ``cause``
    is given for the outcome ``failed`` alone. ``reason`` says why a trial ended before its last step, if that is known.
    ``log`` has the last lines of what the runner logged about a failure, such as a traceback.
    """

    kind: Literal["ended"] = "ended"
    seq: int
    trial_id: str
    step: int
    outcome: Outcome
    cause: Cause | None = None
    reason: str | None = None
    log: str | None = None


Report = Annotated[Measured | Checkpointed | Ended, Field(discriminator="kind")]

OutputStream = Literal["stdout", "stderr", "log", "warning", "note"]
"""Where a line comes from: a stream, ``logging``, ``warnings``; a ``note`` says how many lines were left out there."""


class OutputLine(_Message):
    """One line of what the runner's process printed or logged.

    ``at`` is when, in seconds since the Unix epoch on the runner's clock. ``level`` is that of a log record or a
    warning, such as ``WARNING``. ``trial_id`` names the trial if the line is about one alone; None if it is about the
    whole pack. A line with ``left_out`` stands for so many lines, which were too many to be kept. The numbers ``seq``
    may have gaps.
    """

    seq: int
    at: float
    stream: OutputStream
    text: str
    level: str | None = None
    trial_id: str | None = None
    left_out: int = 0


class SizeTimes(_Message):
    """What a runner measured while its pack had so many ``rows``: places for trials, also of some that have ended.

    ``step_seconds`` is the time of one optimiser step of the whole pack, and ``evaluation_seconds`` that of all
    ``evaluations``, one at each report.
    """

    rows: int
    steps: int
    step_seconds: float
    evaluations: int
    evaluation_seconds: float


class PackTimes(_Message):
    """How long the parts of a pack's training took so far, and the most memory that its process had.

    ``device`` names the kind of device. ``age_seconds`` counts from the runner's creation to now, or to the end of the
    last trial, ``ready_seconds`` to the beginning of training, and ``warm_up_seconds`` is what the first steps took
    longer than the others. ``checkpoint_seconds`` is the time of all ``checkpoints``.
    """

    device: str
    age_seconds: float
    ready_seconds: float
    warm_up_seconds: float
    sizes: list[SizeTimes]
    checkpoints: int
    checkpoint_seconds: float
    peak_bytes: int
    gpu_peak_bytes: int | None = None


class Poll(_Message):
    """A runner's reply to a poll.

    ``state`` is ``starting`` while data and checkpoints are loaded, ``idle`` once every trial has ended and the runner
    waits for others, and ``ended`` once it trains nothing any more, whatever it is sent. ``progress`` has every trial
    that the runner was given and whose end the controller has not acknowledged; a trial that was sent and is not there
    has not arrived. ``unsaved`` says why the newest checkpoints of a trial are not on disk yet; None if they are. They
    are tried again. ``node`` is the id in Ray of the runner's node; None if it is not in Ray, or of an earlier release.
    ``times`` are None before training begins. A runner of an earlier release never gives them. ``lines`` has what the
    process printed; a runner that is not in Ray, or of an earlier release, gives none.
    """

    state: Literal["starting", "running", "idle", "ended"]
    reports: list[Report]
    progress: dict[str, int] = Field(description="optimiser steps done, by trial")
    unsaved: str | None = None
    node: str | None = None
    times: PackTimes | None = None
    lines: list[OutputLine] = []


class Command(_Message):
    """A request to end trials before their next optimiser step, or to train further ones.

    ``prune`` and ``cancel`` end trials with the outcome ``pruned`` or ``cancelled``. ``pause`` and ``move`` first write
    a checkpoint of each, and then end it with the outcome ``paused`` or ``moved``. Trials that have ended already are
    left as they are. ``reason`` is passed on in the trials' ``Ended`` reports.

    ``refill`` gives the runner the trials of ``trials``, which have the shape key of the others, and which it trains
    from their newest checkpoints on. Those that it was given before, or by an earlier command, are ignored: a runner
    trains a trial once, and never again after it has ended there.
    """

    seq: int
    verb: Literal["prune", "pause", "move", "cancel", "refill"]
    trial_ids: list[str]
    reason: str = ""
    trials: list[AssignedTrial] = []


_DIVERGED = re.compile(r".+? was (?:nan|-?inf) at step ([0-9]+);")


def divergence(what: str, value: float, step: int, advice: str) -> str:
    """Return the reason for which a trial fails whose loss, gradient or metric is not finite.

    Args:
        what: The number that was measured, such as ``train/loss``.
        value: Its value: NaN or infinite.
        step: The first optimiser step at which it was not finite.
        advice: What may help.
    """
    return f"{what} was {value} at step {step}; {advice}"


def diverged_at(reason: str | None) -> int | None:
    """Return the step of a reason that ``divergence`` has made, also if more was added to it; None for any other."""
    found = _DIVERGED.match(reason or "")
    return int(found[1]) if found else None
