"""The report of a sweep: its best trials, and the objective over reflectors and margin."""

from __future__ import annotations

from service.api.schemas.document import Document
from service.api.schemas.sweeps import ObjectiveView
from service.api.schemas.trials import TrialView


class PlanePoint(Document):
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


class GridCell(Document):
    """The trials with one pair of reflector counts and one margin."""

    count: int
    """How many there are."""
    best: float
    """The best of their objectives."""
    mean: float
    """The mean of their objectives."""


class Grid(Document):
    """The objective over reflectors and margin, as a table."""

    reflectors: list[tuple[int, int]]
    """The pairs of reflector counts, one for each row."""
    margins: list[float]
    """The margins, one for each column."""
    cells: list[list[GridCell | None]]
    """``cells[i][j]`` belongs to ``reflectors[i]`` and ``margins[j]``; null if no trial there has an objective."""


class SweepReport(Document):
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
