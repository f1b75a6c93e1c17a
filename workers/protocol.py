"""The messages between the controller and a pack runner. They cross Ray as plain dicts.

The controller creates a runner from an ``Assignment`` and then pulls: ``poll(after_seq, term)`` returns a ``Poll``, and
``command(term, command)`` changes which trials run.

Both calls may be repeated safely. Reports are numbered from 1 in ascending order and kept until a poll acknowledges
them with its ``after_seq``, so the first poll passes 0. Commands have numbers too, and a repeated number is ignored.

Every call carries the term of the controller's lease. A runner remembers the highest term it has seen and raises
``StaleTerm`` on a lower one, because the caller has been replaced by another leader.

This module needs only pydantic: it imports neither torch nor ray.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.spec.trial import TrialSpec

Outcome = Literal["succeeded", "failed", "pruned", "cancelled", "paused"]
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

    The outcome ``paused`` means that a checkpoint was written and that another runner may resume the trial. ``cause``
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

    ``state`` is ``starting`` while data and checkpoints are loaded, and ``ended`` once every trial has ended.
    ``unsaved`` says why the newest checkpoints of a trial are not on disk yet; None if they are. They are tried again.
    ``node`` is the id in Ray of the runner's node; None if it is not in Ray, or of an earlier release.
    ``times`` are None before training begins. A runner of an earlier release never gives them.
    """

    state: Literal["starting", "running", "ended"]
    reports: list[Report]
    progress: dict[str, int] = Field(description="optimiser steps done, by trial")
    unsaved: str | None = None
    node: str | None = None
    times: PackTimes | None = None


class Command(_Message):
    """A request to end trials before their next optimiser step. Trials that have ended already are left as they are.

    ``prune`` and ``cancel`` end them with the outcome ``pruned`` or ``cancelled``. ``pause`` first writes a checkpoint
    of each and then ends it with the outcome ``paused``. ``reason`` is passed on in the trials' ``Ended`` reports.
    """

    seq: int
    verb: Literal["prune", "pause", "cancel"]
    trial_ids: list[str]
    reason: str = ""


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
