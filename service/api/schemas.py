"""What clients see of sweeps and trials: the response models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from service.api.times import Time
from service.states import SweepState, TrialState


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    class Field(BaseModel):
        field: str
        given: Any
        problem: str
        allowed: str

    type: str
    title: str
    status: int
    detail: str
    errors: list[Field]


class Advice(Problem.Field):
    """A value that is allowed and yet unwise; ``allowed`` says what is advised."""


class DryRun(BaseModel):
    """A dry run. ``shapes``: trials of each shape of network and training, which can share packs. ``packs``: their
    sizes with one worker; more workers get smaller ones."""

    trials: int
    shapes: list[int]
    packs: list[int]
    warnings: list[Advice]


class Counts(BaseModel):
    """Trials by state; those that have not been made yet are waiting, in a sweep that ended cancelled."""

    total: int
    waiting: int = 0
    running: int = 0
    succeeded: int = 0
    pruned: int = 0
    failed: int = 0
    cancelled: int = 0


class Progress(BaseModel):
    """Optimiser steps. ``total`` leaves out the steps that ended trials will never do, so done reaches it."""

    done: int
    total: int


class ObjectiveView(BaseModel):
    metric: str
    direction: Literal["minimize", "maximize"]


class TrialView(BaseModel):
    """``objective``: of the best checkpoint so far, at ``best_step``; null until there is one.

    ``wanted``: a verb not yet carried out.
    """

    id: str
    sweep_id: str
    number: int
    params: dict[str, Any]
    state: TrialState
    wanted: str | None
    step: int
    objective: float | None
    best_step: int | None
    reason: str | None
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    links: dict[str, str] = {}


class SweepSummary(BaseModel):
    id: str
    name: str
    state: SweepState
    reason: str | None
    created_at: Time
    started_at: Time | None
    ended_at: Time | None
    trials: Counts
    progress: Progress
    objective: ObjectiveView
    links: dict[str, str]


class SweepView(SweepSummary):
    """``mlflow_url``: its run in MLflow, once it has one."""

    best: TrialView | None
    mlflow_url: str | None
    warnings: list[Advice]
    spec: dict[str, Any]


class SweepPage(BaseModel):
    sweeps: list[SweepSummary]
    next_cursor: str | None


class TrialPage(BaseModel):
    trials: list[TrialView]
    next_cursor: str | None


class MetricsPoint(BaseModel):
    step: int
    at: Time
    values: dict[str, float | None]


class TrialMetrics(BaseModel):
    """``keys``: every metric the trial has reported, also those left out of ``points``."""

    trial_id: str
    keys: list[str]
    points: list[MetricsPoint]


class CheckpointView(BaseModel):
    """``path``: as the workers know it. ``download``: where to fetch it from here."""

    step: int
    path: str
    objective: float | None
    at: Time
    download: str


class TrialCheckpoints(BaseModel):
    trial_id: str
    last: CheckpointView | None
    best: CheckpointView | None


class ModelView(BaseModel):
    """How to load the trial's model, from MLflow and from its checkpoint."""

    trial_id: str
    uri: str
    mlflow_url: str
    snippet: str


class AttemptView(BaseModel):
    number: int
    pack_id: str
    from_step: int
    outcome: str | None
    cause: str | None
    reason: str | None
    started_at: Time
    ended_at: Time | None


class EventView(BaseModel):
    seq: int
    kind: str
    trial_id: str | None
    data: dict[str, Any]
    at: Time


class Logs(BaseModel):
    trial_id: str
    state: TrialState
    reason: str | None
    attempts: list[AttemptView]
    events: list[EventView]


class PlanePoint(BaseModel):
    """A trial in the plane of the paper's two numbers."""

    trial_id: str
    number: int
    reflectors: tuple[int, int]
    margin: float
    objective: float


class GridCell(BaseModel):
    """The trials of one reflector count and margin; ``best`` and ``mean`` of their objectives."""

    count: int
    best: float
    mean: float


class Grid(BaseModel):
    """``cells[i][j]`` is for ``reflectors[i]`` and ``margins[j]``, null where no trial has an objective."""

    reflectors: list[tuple[int, int]]
    margins: list[float]
    cells: list[list[GridCell | None]]


class SweepReport(BaseModel):
    """``grid`` is null where margins or reflector counts are too many for a table; ``places`` has every trial."""

    sweep_id: str
    objective: ObjectiveView
    leaderboard: list[TrialView]
    grid: Grid | None
    places: list[PlanePoint]


class TaskView(BaseModel):
    name: str
    summary: str
    metrics: dict[str, Literal["minimize", "maximize"]]
    json_schema: dict[str, Any]


class SamplerView(BaseModel):
    name: str
    summary: str


class ComponentView(BaseModel):
    """A part of the system as last seen."""

    healthy: bool
    message: str
    at: Time | None = None
    detail: dict[str, Any] = {}


class Queue(BaseModel):
    waiting_trials: int
    running_trials: int
    open_packs: int


class ClusterView(BaseModel):
    """``parts``: as the controller last saw them; nodes, CPUs and GPUs are in the detail of ``ray``."""

    parts: dict[str, ComponentView]
    queue: Queue


class Readiness(BaseModel):
    """``ready``: new sweeps can run. ``degraded``: they can, but something beside them is down."""

    ready: bool
    degraded: bool
    waiting_for: list[str]
    parts: dict[str, ComponentView]
