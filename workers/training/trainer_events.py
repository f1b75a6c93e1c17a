"""What a trainer tells of its trials."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """A trial has reported its metrics. The report is in the trial's history already.

    ``save`` is true if a checkpoint is due, and ``best`` if that will be the best one so far.
    """

    trial: int
    step: int
    values: dict[str, float]
    save: bool
    best: bool


@dataclass(frozen=True)
class Failed:
    """A loss, gradient or metric of a trial was not finite at ``step``. The trial has left the pack."""

    trial: int
    step: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """A trial has succeeded and has left the pack. ``reason`` is set if it reached its target before its last step."""

    trial: int
    step: int
    reason: str | None = None


TrainerEvent = Reported | Failed | Finished
