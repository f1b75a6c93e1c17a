"""Trials: their state, metrics, checkpoints, models and history."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from service.schemas.document import Document
from service.schemas.times import Time
from service.states import TrialState


class TrialView(Document):
    """One trial: its values of the swept fields, and how far its training has come."""

    id: str
    """The sweep's id, a hyphen and the trial's number."""
    sweep_id: str
    """The sweep that the trial belongs to."""
    number: int
    """The trial's number within the sweep, from 0."""
    params: dict[str, Any]
    """The trial's value of each swept field, by the field's path, such as ``model.margin``."""
    state: TrialState
    """The trial's state."""
    wanted: str | None
    """``stop`` or ``cancel`` if a user asked for it and the controller has not carried it out yet, else null."""
    step: int
    """The highest step that the trial has reported; 0 before."""
    added_steps: int
    """How many training steps a user has given it after its end, beyond those of its settings."""
    objective: float | None
    """The best value of the objective at any checkpoint so far; null until there is one."""
    best_step: int | None
    """The step of the checkpoint with that value; null until there is one."""
    pack_id: str | None
    """The pack of its last attempt: a group of trials that one worker trains together; null before the first."""
    reason: str | None
    """Why the trial ended early, failed, or waits for another attempt; null if there is nothing to explain."""
    waiting_for: str | None
    """What a waiting trial waits for, as the controller decided it a few seconds ago; null if it does not wait."""
    created_at: Time
    """When the trial was created."""
    started_at: Time | None
    """When it was first given to a worker; null before."""
    ended_at: Time | None
    """When it ended; null before."""
    links: dict[str, str] = Field(default_factory=dict, repr=False)
    """The paths of the trial (``self``), of its ``metrics``, ``checkpoint``, ``model`` and ``logs``."""


class TrialPage(Document):
    """One page of a sweep's trials."""

    trials: list[TrialView]
    """The trials of this page."""
    next_cursor: str | None
    """The ``cursor`` of the next page; null if this page is not full. The page after a full last page is empty."""


class MetricsPoint(Document):
    """The metrics that a trial reported at one step."""

    step: int
    """The optimiser step."""
    at: Time
    """When the report arrived."""
    values: dict[str, float | None]
    """The metrics by name. A trial with a metric that is not finite fails instead of reporting it."""


class TrialMetrics(Document):
    """A trial's metrics over its training."""

    trial_id: str
    """The trial."""
    keys: list[str]
    """The names of all metrics in the reports after the step asked for, also of those that the query left out."""
    points: list[MetricsPoint]
    """The first 10,000 reports, or about as many of all as ``points`` asks for, in order of step."""


class MetricCurve(Document):
    """One metric of one trial over its training."""

    number: int
    """The trial's number within the sweep."""
    points: list[tuple[int, float]]
    """(step, value), in order of step."""


class SweepCurves(Document):
    """One metric of several trials of a sweep over their training."""

    sweep_id: str
    """The sweep."""
    metric: str
    """The metric."""
    metrics: list[str]
    """The names of the metrics that the first of these trials reports; empty before its first report."""
    curves: list[MetricCurve]
    """The curves in the order in which the trials were asked for, or the best trial first. Trials that have not
    reported the metric are left out."""


class CheckpointView(Document):
    """A checkpoint of a trial."""

    step: int
    """The step at which it was saved."""
    path: str
    """Its folder, as the workers see it; its place in the checkpoint store for whoever is no administrator."""
    objective: float | None
    """The objective at that step; null if it was not measured there."""
    at: Time
    """When the controller learned of it."""
    download: str
    """The path of the call that returns its model as a safetensors file."""
    missing: str | None
    """Why this server cannot read it, so that ``download`` fails; null if it can."""


class TrialCheckpoints(Document):
    """A trial's last checkpoint and its best one."""

    trial_id: str
    """The trial."""
    last: CheckpointView | None
    """The newest checkpoint; null until there is one."""
    best: CheckpointView | None
    """The checkpoint with the best objective so far; null until one has an objective."""


class ModelView(Document):
    """How to load a trained model from MLflow."""

    trial_id: str
    """The trial."""
    uri: str
    """The model's URI, for ``mlflow.pyfunc.load_model``."""
    mlflow_url: str
    """The page of the trial's run in MLflow."""
    snippet: str
    """A Python program that loads the model with MLflow, and runs it on an input of the right shape."""
    torch_snippet: str
    """A Python program that loads the trial's best checkpoint as a module of torch, and runs it on the same input."""


class AttemptView(Document):
    """One attempt to train a trial. There is another one after a pause, a lost worker, or a failure that is retried."""

    number: int
    """The attempt's number among those of its trial, from 1."""
    pack_id: str
    """The pack in which the trial was trained: a group of trials that one worker trains together."""
    from_step: int
    """The highest step that the trial had reported before; training itself resumes from the newest checkpoint."""
    outcome: str | None
    """``succeeded``, ``failed``, ``pruned``, ``cancelled``, ``paused``, or ``lost`` with its worker; null before."""
    cause: str | None
    """Of a failed attempt ``user`` if the trial was at fault, ``infrastructure`` if the machine was or data were not
    there, ``memory`` if that was too small, ``storage`` if checkpoints could not be written; of a lost one ``process``
    if its worker died, ``memory`` if its machine had none left, ``preemption`` if the worker was ended from outside or
    its node was lost, ``cluster`` if all of Ray was; of a paused one ``preemption`` if it made room for a sweep of a
    higher priority; else null."""
    reason: str | None
    """Why the attempt ended, in words; null if there is nothing to explain."""
    log: str | None
    """The last lines of what was logged about a failure, such as a traceback; null if there are none."""
    started_at: Time
    """When its pack was planned, shortly before its worker started."""
    ended_at: Time | None
    """When it ended; null before."""


class EventView(Document):
    """Something that happened in a sweep."""

    seq: int
    """The event's number within its sweep, from 1 and without gaps; also its id in the event stream."""
    kind: str
    """What happened, such as ``sweep.running`` or ``trial.metrics``."""
    trial_id: str | None
    """The id of the trial that it happened to; null for an event of the sweep itself."""
    data: dict[str, Any]
    """The event's facts; which there are depends on the kind."""
    at: Time
    """When it happened."""


class LogLine(Document):
    """One line that a trial's worker has printed or logged."""

    id: str
    """The line's place: the number of the attempt, a hyphen, and a number that grows within the attempt."""
    at: Time
    """When it was printed, on the clock of the worker's machine."""
    attempt: int
    """The number of the attempt during which it was printed."""
    stream: Literal["stdout", "stderr", "log", "warning", "note"]
    """Where it comes from: a stream, Python's ``logging`` or ``warnings``; or ``note`` for a line that says how many
    lines were left out in its place."""
    level: str | None
    """The level of a log record or a warning, such as ``WARNING``; null for other lines."""
    text: str
    """The line, without colours, folders and credentials; a long one is cut, and says so."""


class Logs(Document):
    """The history of a trial, and what its workers have printed meanwhile."""

    trial_id: str
    """The trial."""
    state: TrialState
    """Its state now."""
    reason: str | None
    """The trial's ``reason``."""
    attempts: list[AttemptView]
    """Its attempts in order."""
    events: list[EventView]
    """Its events in order behind ``events_after``, at most the first 1,000."""
    lines: list[LogLine]
    """What its workers printed, in order of attempt and place, behind the line ``after``. A worker trains a pack of
    trials, so lines that are not about another trial alone belong to all that were in the pack at that time."""
    more_lines: bool
    """Whether there are further lines behind these now."""
