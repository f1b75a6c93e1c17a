"""The documents that the API answers with. Their docstrings and descriptions are what ``/docs`` shows."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from service.api.times import Time
from service.states import SweepState, TrialState


class _Document(BaseModel):
    """The base of every answer: a string below a field is the field's description."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class Problem(_Document):
    """What went wrong with a call, as a problem document (RFC 9457)."""

    class Field(_Document):
        """One field of the request that was refused."""

        field: str
        """The field's path in the document, such as ``model.reflectors``, or the parameter's name."""
        given: Any
        """The value that was sent."""
        problem: str
        """What is wrong with the value; it reads on from the field's name."""
        allowed: str
        """What to send instead."""

    type: str
    """A URN that names the kind of problem."""
    title: str
    """The kind of problem in words. It is the same for every problem of this kind."""
    status: int
    """The HTTP status code."""
    detail: str
    """What went wrong in this call."""
    errors: list[Field]
    """The fields that were refused; empty if the problem lies elsewhere."""


class Advice(Problem.Field):
    """A warning about a value that is accepted but likely to train badly; ``allowed`` is the advice."""


class DryRun(_Document):
    """What a sweep would do if it were submitted."""

    trials: int
    """The number of trials."""
    shapes: list[int]
    """The number of trials of each shape of network and training; trials of one shape can be trained together."""
    packs: list[int]
    """The sizes of the packs, the groups of trials that one worker trains together, if there is one worker."""
    warnings: list[Advice]
    """Values that are accepted but likely to train badly, and resources that no node of the cluster has."""


class Counts(_Document):
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


class Progress(_Document):
    """The progress of a sweep in optimiser steps."""

    done: int
    """The steps done so far, over all trials."""
    total: int
    """The steps to do. Steps that an ended trial will never do are not counted, so ``done`` reaches ``total``."""


class ObjectiveView(_Document):
    """What a sweep optimises."""

    metric: str
    """The metric by which trials are ranked."""
    direction: Literal["minimize", "maximize"]
    """Whether small or large values are better."""


class TrialView(_Document):
    """One trial: one setting of the sweep's parameters, and how far its training has come."""

    id: str
    """The sweep's id, a hyphen and the trial's number."""
    sweep_id: str
    """The sweep that the trial belongs to."""
    number: int
    """The trial's number within the sweep, from 0."""
    params: dict[str, Any]
    """The values of the swept parameters, by path."""
    state: TrialState
    """The trial's state."""
    wanted: str | None
    """``stop`` or ``cancel`` if a user asked for it and the controller has not carried it out yet, else null."""
    step: int
    """The last step that the trial reported."""
    objective: float | None
    """The best value of the objective at any checkpoint so far; null until there is one."""
    best_step: int | None
    """The step of the checkpoint with that value."""
    reason: str | None
    """Why the trial ended as it did; null for a trial that succeeded or has not ended."""
    created_at: Time
    """When the trial was created."""
    started_at: Time | None
    """When its training first started."""
    ended_at: Time | None
    """When it ended."""
    links: dict[str, str] = {}
    """The paths of the trial and of what belongs to it."""


class SweepSummary(_Document):
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


class SweepPage(_Document):
    """One page of the list of sweeps."""

    sweeps: list[SweepSummary]
    """The sweeps of this page, newest first."""
    next_cursor: str | None
    """The ``cursor`` of the next page; null on the last page."""


class TrialPage(_Document):
    """One page of a sweep's trials."""

    trials: list[TrialView]
    """The trials of this page."""
    next_cursor: str | None
    """The ``cursor`` of the next page; null on the last page."""


class MetricsPoint(_Document):
    """The metrics that a trial reported at one step."""

    step: int
    """The optimiser step."""
    at: Time
    """When the report arrived."""
    values: dict[str, float | None]
    """The metrics by name; null for a value that was not finite."""


class TrialMetrics(_Document):
    """A trial's metrics over its training."""

    trial_id: str
    """The trial."""
    keys: list[str]
    """The names of all metrics in these reports, also of those that the query left out."""
    points: list[MetricsPoint]
    """The reports in order of step."""


class CheckpointView(_Document):
    """A checkpoint of a trial."""

    step: int
    """The step at which it was saved."""
    path: str
    """Its folder, as the workers see it."""
    objective: float | None
    """The objective at that step."""
    at: Time
    """When the controller learned of it."""
    download: str
    """The path of the call that returns its model as a safetensors file."""


class TrialCheckpoints(_Document):
    """A trial's last checkpoint and its best one."""

    trial_id: str
    """The trial."""
    last: CheckpointView | None
    """The newest checkpoint; null until there is one."""
    best: CheckpointView | None
    """The checkpoint with the best objective; null until there is one."""


class ModelView(_Document):
    """How to load a trained model from MLflow."""

    trial_id: str
    """The trial."""
    uri: str
    """The model's URI, for ``mlflow.pyfunc.load_model``."""
    mlflow_url: str
    """The page of the trial's run in MLflow."""
    snippet: str
    """A Python program that loads the model and runs it on an input of the right shape."""


class AttemptView(_Document):
    """One attempt to train a trial. A trial gets another attempt after a pause, or if a worker is lost."""

    number: int
    """The attempt's number, from 0."""
    pack_id: str
    """The pack in which the trial was trained: a group of trials that one worker trains together."""
    from_step: int
    """The last step that had been reported before the attempt started."""
    outcome: str | None
    """How the attempt ended; null while it runs."""
    cause: str | None
    """``user`` if the trial itself was at fault, ``infrastructure`` if the machine was; null if neither."""
    reason: str | None
    """Why it ended, in words."""
    started_at: Time
    """When it started."""
    ended_at: Time | None
    """When it ended."""


class EventView(_Document):
    """Something that happened in a sweep."""

    seq: int
    """The event's number within its sweep, from 1 and without gaps; also its id in the event stream."""
    kind: str
    """What happened, such as ``sweep.running`` or ``trial.metrics``."""
    trial_id: str | None
    """The trial that it happened to; null for the sweep itself."""
    data: dict[str, Any]
    """Details, depending on the kind."""
    at: Time
    """When it happened."""


class Logs(_Document):
    """The history of a trial."""

    trial_id: str
    """The trial."""
    state: TrialState
    """Its state now."""
    reason: str | None
    """Why it ended as it did."""
    attempts: list[AttemptView]
    """Its attempts in order."""
    events: list[EventView]
    """Its events in order, at most the first 1,000."""


class PlanePoint(_Document):
    """A trial's place in the plane of reflectors and margin, and its objective there."""

    trial_id: str
    """The trial."""
    number: int
    """The trial's number within the sweep."""
    reflectors: tuple[int, int]
    """The numbers of Householder reflectors on the left and on the right side."""
    margin: float
    """The margin r: singular values lie within r of the band's centre."""
    objective: float
    """The trial's best objective."""


class GridCell(_Document):
    """The trials with one pair of reflector counts and one margin."""

    count: int
    """How many there are."""
    best: float
    """The best of their objectives."""
    mean: float
    """The mean of their objectives."""


class Grid(_Document):
    """The objective over reflectors and margin, as a table."""

    reflectors: list[tuple[int, int]]
    """The pairs of reflector counts, one for each row."""
    margins: list[float]
    """The margins, one for each column."""
    cells: list[list[GridCell | None]]
    """``cells[i][j]`` belongs to ``reflectors[i]`` and ``margins[j]``; null if no trial there has an objective."""


class SweepReport(_Document):
    """The results of a sweep so far."""

    sweep_id: str
    """The sweep."""
    objective: ObjectiveView
    """What it optimises."""
    leaderboard: list[TrialView]
    """The best trials, best first, at most 20."""
    grid: Grid | None
    """The objective over reflectors and margin; null if there are too many values for a table, or none."""
    places: list[PlanePoint]
    """Every trial that has reflectors and an objective, with its place in the same plane."""


class TaskView(_Document):
    """A task that a sweep can train on."""

    name: str
    """The value of ``task.name`` in a sweep."""
    summary: str
    """What is to be learned."""
    metrics: dict[str, Literal["minimize", "maximize"]]
    """The metrics that trials of this task report, each with the direction in which it gets better."""
    json_schema: dict[str, Any]
    """The task's fields as a JSON schema."""


class SamplerView(_Document):
    """A way to draw trials from a search space."""

    name: str
    """The value of ``search.sampler`` in a sweep."""
    summary: str
    """Which trials it draws."""


class ComponentView(_Document):
    """The health of one part of the system, as last seen."""

    healthy: bool
    """Whether the part works. A part that has not been seen for a while is not healthy."""
    message: str
    """Its condition in words."""
    at: Time | None = None
    """When it was last seen; null if it never was, and for the database, which is asked anew each time."""
    detail: dict[str, Any] = {}
    """Details, depending on the part."""


class Queue(_Document):
    """What is being trained, and what waits for free resources."""

    waiting_trials: int
    """Trials that wait."""
    running_trials: int
    """Trials that are being trained."""
    open_packs: int
    """Packs that are being trained or about to start; a pack is a group of trials that one worker trains together."""


class ClusterView(_Document):
    """The state of the cluster."""

    parts: dict[str, ComponentView]
    """The parts of the system by name. Nodes, CPUs and GPUs are in the detail of ``ray``."""
    queue: Queue
    """What is being trained, and what waits."""


class Readiness(_Document):
    """Whether the service can run sweeps."""

    ready: bool
    """Whether newly submitted sweeps will run."""
    degraded: bool
    """Whether something that training does not need, such as MLflow, is down."""
    waiting_for: list[str]
    """What keeps the service from being ready; empty if it is ready."""
    parts: dict[str, ComponentView]
    """The parts of the system by name."""


class Liveness(_Document):
    """The answer of a process that is alive."""

    status: Literal["alive"] = "alive"
    """Always ``alive``."""
