"""The condition of the service and its cluster."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from service.schemas.document import Document
from service.schemas.times import Time


class ComponentView(Document):
    """The health of the database, the controller, Ray, MLflow or the checkpoint store, as last seen."""

    healthy: bool
    """Whether the part works. It is false for a part that has not been seen for 30 seconds."""
    message: str
    """Its condition in words."""
    at: Time | None = None
    """When the controller last reported on it; null if it never did, or for the database, which the API asks itself."""
    detail: dict[str, Any] = Field(default_factory=dict, repr=False)
    """Further facts for programs: for ``ray`` the cluster's nodes, for ``mlflow`` the sweeps that cannot be written for
    the moment (``not_taken``), and what MLflow ``lacks`` of sweeps that run or ended within a day, with the reasons.
    For ``checkpoints`` what they take (``used_bytes``), what is free on the disk and stays free (``free_bytes``,
    ``reserve_bytes``), the most that they may take (``limit_bytes``), and what open sweeps need yet
    (``to_come_bytes``)."""


class Queue(Document):
    """How many trials wait and are being trained, over all sweeps."""

    waiting_trials: int
    """Trials that have been created and wait, for free resources or for their paused sweep."""
    running_trials: int
    """Trials that are being trained."""
    open_packs: int
    """Packs that are being trained or about to start; a pack is a group of trials that one worker trains together."""


class ClusterView(Document):
    """The condition of the service's parts, and how much it has to train."""

    parts: dict[str, ComponentView]
    """``database``, ``controller``, ``ray``, ``mlflow`` and ``checkpoints``. Nodes with their CPUs, GPUs, memory and
    labels, and what of them is in use, are in the detail of ``ray``."""
    queue: Queue
    """How many trials wait and are being trained."""


class Readiness(Document):
    """Whether the service can run sweeps."""

    ready: bool
    """Whether sweeps can run: the database, the controller and Ray are healthy."""
    degraded: bool
    """Whether any part is not healthy. If ``ready`` is true, it is MLflow, which training does not need, or the disk of
    the checkpoints is full. What somebody deleted in MLflow does not count: the message of ``mlflow`` says it."""
    waiting_for: list[str]
    """The parts that keep the service from being ready, each with its message; empty if it is ready."""
    parts: dict[str, ComponentView]
    """``database``, ``controller``, ``ray``, ``mlflow`` and ``checkpoints``."""


class Liveness(Document):
    """The answer of a process that is alive."""

    status: Literal["alive"] = "alive"
    """Always ``alive``."""
