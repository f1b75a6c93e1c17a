"""Sweeps: dry runs, lists and single sweeps."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from service.schemas.document import Document
from service.schemas.points import PointView
from service.schemas.problem import Advice
from service.schemas.times import Time
from service.schemas.trials import TrialView
from service.states import SweepState


class SecondsRange(Document):
    """How long something takes, in seconds of wall time."""

    expected: float
    """The time that is expected."""
    low: float
    """It hardly takes less."""
    high: float
    """It hardly takes more, if the cluster does nothing else."""


class DeviceHours(Document):
    """How long devices are taken, summed over all of them, in hours."""

    cpu: float
    """Hours of CPUs."""
    gpu: float
    """Hours of GPUs; 0 if the sweep takes none."""


class EstimateReason(Document):
    """Where a number of an estimate comes from."""

    about: Literal["trials", "packs", "workers", "seconds", "device_hours", "peak_memory_bytes"]
    """The number."""
    reason: str
    """Where it comes from, for a person to read."""


class Estimate(Document):
    """What a sweep will take on the cluster as it is now, if nothing else runs there."""

    packs: int
    """The number of packs, planned for the workers that there are."""
    workers: int
    """How many packs run at the same time; 1 if the nodes are not known."""
    seconds: SecondsRange | None
    """The wall time from the submit to the end of the last trial; null if nothing is known of such networks."""
    device_hours: DeviceHours | None
    """How long devices are taken; null if ``seconds`` is."""
    peak_memory_bytes: int
    """The most main memory that one worker needs."""
    gpu_memory_bytes: int | None
    """The most memory of a GPU that one worker needs; null if the sweep takes none, or if that is not known."""
    reasons: list[EstimateReason]
    """Where each number comes from."""


class DryRun(Document):
    """What a sweep would do if it were submitted."""

    trials: int
    """The number of trials: that of points times that of repeats."""
    points: int
    """The number of points of the search space that are trained."""
    repeats: int
    """How many trials each point has, which differ in their seeds."""
    excluded_points: int
    """The number of points of the grid that break a constraint, and become no trials. 0 for the samplers that draw
    points: they draw again."""
    shapes: list[int]
    """The number of trials of each shape of network and training, largest first. Trials of one shape can be
    trained together."""
    packs: list[int]
    """The sizes that the packs would have if there were one worker, largest first. A pack is a group of trials that one
    worker trains together."""
    checkpoint_bytes: int
    """About how many bytes its checkpoints will take on the disk."""
    estimate: Estimate
    """How long the sweep will take, and what it needs."""
    warnings: list[Advice]
    """Values that are accepted but likely to train badly, data whose scores are hard to trust, resources that no node
    of the cluster has, memory that a node lacks, and checkpoints that do not fit into the checkpoint store, for which
    a submit is refused."""


class Counts(Document):
    """The number of trials in each state.

    A trial that has not been created yet counts as waiting, or as cancelled if the sweep has ended.
    """

    total: int
    """All trials of the sweep."""
    waiting: int = 0
    """Trials that have not ended and are not being trained at the moment."""
    running: int = 0
    """Trials that are being trained."""
    succeeded: int = 0
    """Trials that were trained to their last step or reached ``training.target``."""
    pruned: int = 0
    """Trials whose training was ended early by the sweep's ``early_stopping`` or by a user's ``stop``."""
    failed: int = 0
    """Trials that could not be trained to the end, such as for a loss that is not finite or a lost machine."""
    cancelled: int = 0
    """Trials that were cancelled, or were waiting when they or their sweep were stopped."""


class Progress(Document):
    """The progress of a sweep in optimiser steps."""

    done: int
    """The steps done so far, summed over all trials."""
    total: int
    """The steps that all trials have done and will do. Of a trial that ended early only the steps done are counted, so
    that ``done`` equals ``total`` in the end."""


class ObjectiveView(Document):
    """The metric by which a sweep's trials are ranked, and its direction."""

    metric: str
    """The metric by which trials are ranked."""
    direction: Literal["minimize", "maximize"]
    """``minimize`` if small values are better, ``maximize`` if large ones are."""


class SweepSummary(Document):
    """A sweep in a list."""

    id: str
    """The sweep's id."""
    name: str
    """The name in the submitted document; ``sweep`` if it had none."""
    owner: str
    """Who submitted it; ``local`` while no tokens are required."""
    tags: list[str]
    """The words by which users find it again, in alphabetical order."""
    archived: bool
    """Whether lists leave it out unless they are asked for it."""
    task: str
    """The name of the task that its trials learn, as in ``task.name`` of the document."""
    state: SweepState
    """The sweep's state."""
    reason: str | None
    """Why the sweep failed or could not go on; null otherwise."""
    priority: int
    """Its priority: sweeps of a higher one are trained first, and take the place of others."""
    max_parallel: int | None
    """How many of its trials may run at the same time; null for as many as fit."""
    waiting_for: str | None
    """What its waiting trials wait for, as the controller decided it a few seconds ago; null if none waits."""
    queue_position: int | None
    """Its place among the sweeps that wait for their turn, from 1; null if it does not wait for its turn."""
    created_at: Time
    """When the sweep was submitted."""
    started_at: Time | None
    """When the sweep first became ``running``, which may be before its first trial is trained; null before."""
    ended_at: Time | None
    """When it ended; null before."""
    counts: Counts = Field(alias="trials")
    """The number of trials in each state; in JSON ``trials``."""
    progress: Progress
    """The progress in optimiser steps."""
    eta_at: Time | None
    """When the sweep is expected to end, with the workers that it has now; null if that cannot be said."""
    seconds_left: float | None
    """The seconds until then; null if ``eta_at`` is."""
    eta_reason: str | None
    """Why ``eta_at`` is null; null if it is not, and if the sweep has ended."""
    objective: ObjectiveView
    """The metric by which its trials are ranked, and its direction."""
    best_objective: float | None
    """The best objective of all trials that have a result, or with ``repeats`` of all points; null until a trial, or a
    point, has one. Trials of a sweep that varies its data set are not comparable, and this is then the best of any of
    them."""
    planned_steps: int
    """The steps that all trials would do if none of them ended early. A sweep that was cancelled has done fewer."""
    last_event: int
    """The number of the sweep's newest event: ``/events?after=`` this number streams what happens from now on."""
    links: dict[str, str]
    """The paths of the sweep (``self``), of its ``trials``, ``points``, ``events``, ``report`` and ``data``."""


class SweepView(SweepSummary):
    """A sweep in full."""

    best: TrialView | None
    """The trial with the best objective so far, the first of equals; of a sweep with ``repeats`` the best trial of its
    best point. Trials that have failed or were cancelled do not count, and those that were pruned do; null until a
    trial, or a point, has a result."""
    best_point: PointView | None
    """The point with the best objective so far, the first of equals; null without ``repeats``, and until a point has a
    result."""
    mlflow_url: str | None
    """The page of the sweep's run in MLflow; null until MLflow has it."""
    mlflow_lacks: dict[str, str]
    """What MLflow lacks of the sweep and its trials, and why, by the id of the sweep or trial: what was deleted there,
    or could not be logged. What only waits to be written is not listed."""
    checkpoint_bytes: int
    """How many bytes its checkpoints take on the disk, without the copies in MLflow."""
    warnings: list[Advice]
    """Values that are accepted but likely to train badly, data whose scores are hard to trust, and resources that no
    node of the cluster has."""
    spec: dict[str, Any]
    """The sweep document after validation, with every default filled in."""


class SweepPage(Document):
    """One page of the list of sweeps."""

    sweeps: list[SweepSummary]
    """The sweeps of this page, newest first."""
    next_cursor: str | None
    """The ``cursor`` of the next page; null if this page is not full. The page after a full last page is empty."""


class BestSoFarOfSweep(Document):
    """How the best objective of one sweep got better."""

    id: str
    """The sweep's id."""
    points: list[tuple[int, float]]
    """Pairs of a number of trials and the best objective of so many, in the order of the trials' numbers; at most 24.
    With ``repeats`` it is that of the points among them. Empty until a trial, or a point, has a result."""


class BestSoFarPage(Document):
    """How the best objectives of several sweeps got better."""

    sweeps: list[BestSoFarOfSweep]
    """The sweeps, in the order in which they were asked for."""
