"""The condition of the service and its cluster."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from service.api.schemas.document import Document
from service.api.times import Time


class ComponentView(Document):
    """The health of one part of the system, as last seen."""

    healthy: bool
    """Whether the part works. A part that has not been seen for a while is not healthy."""
    message: str
    """Its condition in words."""
    at: Time | None = None
    """When it was last seen; null if it never was, and for the database, which is asked anew each time."""
    detail: dict[str, Any] = Field(default_factory=dict)
    """Details, depending on the part."""


class Queue(Document):
    """What is being trained, and what waits for free resources."""

    waiting_trials: int
    """Trials that wait."""
    running_trials: int
    """Trials that are being trained."""
    open_packs: int
    """Packs that are being trained or about to start; a pack is a group of trials that one worker trains together."""


class ClusterView(Document):
    """The state of the cluster."""

    parts: dict[str, ComponentView]
    """The parts of the system by name. Nodes, CPUs and GPUs are in the detail of ``ray``."""
    queue: Queue
    """What is being trained, and what waits."""


class Readiness(Document):
    """Whether the service can run sweeps."""

    ready: bool
    """Whether newly submitted sweeps will run."""
    degraded: bool
    """Whether something that training does not need, such as MLflow, is down."""
    waiting_for: list[str]
    """What keeps the service from being ready; empty if it is ready."""
    parts: dict[str, ComponentView]
    """The parts of the system by name."""


class Liveness(Document):
    """The answer of a process that is alive."""

    status: Literal["alive"] = "alive"
    """Always ``alive``."""
