"""Points: the settings of a sweep, each with the results of all of its trials."""

from __future__ import annotations

from typing import Any

from service.schemas.document import Document
from service.states import TrialState


class RepeatView(Document):
    """One trial of a point."""

    trial_id: str
    """The trial."""
    number: int
    """The trial's number within the sweep."""
    seed: int
    """Its ``training.seed``."""
    state: TrialState
    """The trial's state."""
    objective: float | None
    """The trial's best objective so far; null until there is one."""


class PointView(Document):
    """One point of the search space, with all of its repeats: trials that differ in their seeds alone."""

    number: int
    """The number of the point within the sweep, from 0."""
    params: dict[str, Any]
    """Its value of each swept field, by the field's path, without the seed."""
    objective: float | None
    """The statistic of the objectives of its trials that the sweep asks for, by default their mean; null until each
    trial that was not cancelled has a finite objective, and while one of them has failed."""
    n: int
    """How many of its trials have a result. Of these are the following three."""
    mean: float | None
    """The mean of their objectives; null without a result."""
    sd: float | None
    """The standard deviation of their objectives, with n - 1 in the denominator; null for fewer than two results."""
    interval: tuple[float, float] | None
    """The 95 % interval of the mean by Student's t; null for fewer than two results."""
    reason: str | None
    """Why the point has no ``objective``; null if it has one."""
    best_trial: str | None
    """The id of its trial with the best objective; null without a result."""
    repeats: list[RepeatView]
    """Its trials, in order of their seeds."""
