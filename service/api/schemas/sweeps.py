"""Sweeps: dry runs, lists and single sweeps."""

from __future__ import annotations

from typing import Any, Literal

from service.api.schemas.document import Document
from service.api.schemas.problem import Advice
from service.api.schemas.trials import TrialView
from service.api.times import Time
from service.states import SweepState


class DryRun(Document):
    """What a sweep would do if it were submitted."""

    trials: int
    """The number of trials."""
    shapes: list[int]
    """The number of trials of each shape of network and training; trials of one shape can be trained together."""
    packs: list[int]
    """The sizes of the packs, the groups of trials that one worker trains together, if there is one worker."""
    warnings: list[Advice]
    """Values that are accepted but likely to train badly, and resources that no node of the cluster has."""


class Counts(Document):
    """The number of trials in each state.

    A trial that has not been created yet counts as waiting, or as cancelled if the sweep has ended.
    """

    total: int
    """All trials of the sweep."""
    waiting: int = 0
    """Trials that are not being trained at the moment."""
    running: int = 0
    """Trials that are being trained."""
    succeeded: int = 0
    """Trials that were trained to their last step."""
    pruned: int = 0
    """Trials that were stopped early, by the sweep's rule or by a user."""
    failed: int = 0
    """Trials that ended with an error, such as a loss that is not finite."""
    cancelled: int = 0
    """Trials that ended because the sweep or the trial was cancelled or stopped."""


class Progress(Document):
    """The progress of a sweep in optimiser steps."""

    done: int
    """The steps done so far, over all trials."""
    total: int
    """The steps to do. Steps that an ended trial will never do are not counted, so ``done`` reaches ``total``."""


class ObjectiveView(Document):
    """What a sweep optimises."""

    metric: str
    """The metric by which trials are ranked."""
    direction: Literal["minimize", "maximize"]
    """Whether small or large values are better."""


class SweepSummary(Document):
    """A sweep in a list."""

    id: str
    """The sweep's id."""
    name: str
    """The name in the submitted document; ``sweep`` if it had none."""
    state: SweepState
    """The sweep's state."""
    reason: str | None
    """Why the sweep ended as it did; null if there is nothing to explain."""
    created_at: Time
    """When the sweep was submitted."""
    started_at: Time | None
    """When its first trial started."""
    ended_at: Time | None
    """When it ended."""
    trials: Counts
    """The number of trials in each state."""
    progress: Progress
    """The progress in optimiser steps."""
    objective: ObjectiveView
    """What the sweep optimises."""
    links: dict[str, str]
    """The paths of the sweep and of what belongs to it."""


class SweepView(SweepSummary):
    """A sweep in full."""

    best: TrialView | None
    """The trial with the best objective so far."""
    mlflow_url: str | None
    """The page of the sweep's run in MLflow; null until MLflow has it."""
    warnings: list[Advice]
    """Values that are accepted but likely to train badly, and resources that no node of the cluster has."""
    spec: dict[str, Any]
    """The sweep as submitted, with every default filled in."""


class SweepPage(Document):
    """One page of the list of sweeps."""

    sweeps: list[SweepSummary]
    """The sweeps of this page, newest first."""
    next_cursor: str | None
    """The ``cursor`` of the next page; null on the last page."""
