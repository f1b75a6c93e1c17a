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

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.spec.trial import TrialSpec

Outcome = Literal["succeeded", "failed", "pruned", "cancelled", "paused"]
Cause = Literal["user", "infrastructure"]
"""Who can repair a failure: the user by changing the sweep, or another attempt on another machine."""


class StaleTerm(RuntimeError):
    """The caller's term is over: another controller has become the leader."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AssignedTrial(_Message):
    """One trial of an assignment.

    ``checkpoint_dir`` is the folder of this trial's checkpoints. Training resumes from the newest complete one in it.
    """

    trial_id: str
    spec: TrialSpec
    checkpoint_dir: str


class Assignment(_Message):
    """The trials that one runner trains together as a pack. All of them have the same shape key."""

    pack_id: str
    attempt: int = Field(ge=0)
    term: int = Field(ge=0)
    trials: list[AssignedTrial] = Field(min_length=1)
    cpus: float
    gpus: float
    data_dir: str | None = None
    orphan_ttl: float = Field(
        default=600.0, gt=0, description="seconds without a poll after which the runner pauses all trials and exits"
    )


class Measured(_Message):
    """A report of a trial's metrics at a step, by their MLflow names. Every value is finite.

    A runner that resumes a trial sends the reports of earlier steps again, with the same values. The receiver
    recognises them by trial and step.
    """

    kind: Literal["metrics"] = "metrics"
    seq: int
    trial_id: str
    step: int
    values: dict[str, float]


class Checkpointed(_Message):
    """A report that a complete checkpoint is on disk. ``best`` is true if no earlier one has a better objective."""

    kind: Literal["checkpointed"] = "checkpointed"
    seq: int
    trial_id: str
    step: int
    path: str
    best: bool
    objective: float | None


class Ended(_Message):
    """The last report of a trial from this runner.

    The outcome ``paused`` means that a checkpoint was written and that another runner may resume the trial.
    """

    kind: Literal["ended"] = "ended"
    seq: int
    trial_id: str
    step: int
    outcome: Outcome
    cause: Cause | None = None
    reason: str | None = None


Report = Annotated[Measured | Checkpointed | Ended, Field(discriminator="kind")]


class Poll(_Message):
    """A runner's reply to a poll.

    ``state`` is ``starting`` while data and checkpoints are loaded, and ``ended`` once every trial has ended.
    """

    state: Literal["starting", "running", "ended"]
    reports: list[Report]
    progress: dict[str, int] = Field(description="optimiser steps done, by trial")


class Command(_Message):
    """A request to end trials early.

    With ``prune`` and ``cancel`` a trial ends at once with that outcome. With ``pause`` it first writes a checkpoint.
    """

    seq: int
    verb: Literal["prune", "pause", "cancel"]
    trial_ids: list[str]
    reason: str = ""
