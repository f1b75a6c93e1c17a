"""What a controller and a pack runner say to each other (pydantic only; crosses Ray as plain dicts).

The controller creates a ``PackRunner`` with an ``Assignment``, then pulls: ``poll(after_seq, term)`` returns a
``Poll``, ``command(term, Command)`` changes what runs. Both may be repeated freely: reports have ascending sequence
numbers and are kept until a poll acknowledges them (they count from 1, so the first poll asks after 0), commands have
numbers of their own and a repeated one changes nothing. A call with a term below the highest the runner has seen is
refused (``StaleTerm``): its sender has lost the lead.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from workers.spec.trial import TrialSpec

Outcome = Literal["succeeded", "failed", "pruned", "cancelled", "paused"]
Cause = Literal["user", "infrastructure"]


class StaleTerm(RuntimeError):
    """The caller is a controller that has lost the lead."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AssignedTrial(_Message):
    """One trial of a pack. ``checkpoint_dir``: this trial's folder; a whole checkpoint in it is resumed from."""

    trial_id: str
    spec: TrialSpec
    checkpoint_dir: str


class Assignment(_Message):
    """A pack: its trials share one shape key."""

    pack_id: str
    attempt: int = Field(ge=0)
    term: int = Field(ge=0)
    slots: list[AssignedTrial] = Field(min_length=1)
    cpus: float
    gpus: float
    data_dir: str | None = None
    orphan_ttl: float = Field(
        default=600.0, gt=0, description="seconds without a poll until the runner pauses all and leaves"
    )


class Measured(_Message):
    """Values at a step, one message per (trial, step); the same again after a resume. Keys as in MLflow, NaN never."""

    kind: Literal["metrics"] = "metrics"
    seq: int
    trial_id: str
    step: int
    values: dict[str, float]


class Checkpointed(_Message):
    """A whole checkpoint stands on disk. ``best``: it is also the best so far by the objective."""

    kind: Literal["checkpointed"] = "checkpointed"
    seq: int
    trial_id: str
    step: int
    path: str
    best: bool
    objective: float | None


class Ended(_Message):
    """The trial is over for this runner. ``paused``: a checkpoint stands and it may be resumed elsewhere."""

    kind: Literal["ended"] = "ended"
    seq: int
    trial_id: str
    step: int
    outcome: Outcome
    cause: Cause | None = None
    reason: str | None = None


Report = Annotated[Measured | Checkpointed | Ended, Field(discriminator="kind")]


class Poll(_Message):
    """``state`` is starting until data and checkpoints are loaded, and ended when every slot is."""

    state: Literal["starting", "running", "ended"]
    reports: list[Report]
    progress: dict[str, int] = Field(description="steps done per trial")


class Command(_Message):
    """prune, cancel: the trial ends with that outcome. pause: it checkpoints at its step, then ends as paused."""

    seq: int
    verb: Literal["prune", "pause", "cancel"]
    trial_ids: list[str]
    reason: str = ""
