"""Trials: their state, metrics, checkpoints, models and history."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from service.api.schemas.document import Document
from service.api.times import Time
from service.states import TrialState


class TrialView(Document):
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
    links: dict[str, str] = Field(default_factory=dict)
    """The paths of the trial and of what belongs to it."""


class TrialPage(Document):
    """One page of a sweep's trials."""

    trials: list[TrialView]
    """The trials of this page."""
    next_cursor: str | None
    """The ``cursor`` of the next page; null on the last page."""


class MetricsPoint(Document):
    """The metrics that a trial reported at one step."""

    step: int
    """The optimiser step."""
    at: Time
    """When the report arrived."""
    values: dict[str, float | None]
    """The metrics by name; null for a value that was not finite."""


class TrialMetrics(Document):
    """A trial's metrics over its training."""

    trial_id: str
    """The trial."""
    keys: list[str]
    """The names of all metrics in these reports, also of those that the query left out."""
    points: list[MetricsPoint]
    """The reports in order of step."""


class CheckpointView(Document):
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


class TrialCheckpoints(Document):
    """A trial's last checkpoint and its best one."""

    trial_id: str
    """The trial."""
    last: CheckpointView | None
    """The newest checkpoint; null until there is one."""
    best: CheckpointView | None
    """The checkpoint with the best objective; null until there is one."""


class ModelView(Document):
    """How to load a trained model from MLflow."""

    trial_id: str
    """The trial."""
    uri: str
    """The model's URI, for ``mlflow.pyfunc.load_model``."""
    mlflow_url: str
    """The page of the trial's run in MLflow."""
    snippet: str
    """A Python program that loads the model and runs it on an input of the right shape."""


class AttemptView(Document):
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


class EventView(Document):
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


class Logs(Document):
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
