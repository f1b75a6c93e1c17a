"""The report of a sweep: its best trials, and the objective over reflectors and margin."""

from __future__ import annotations

from service.api.schemas.document import Document
from service.api.schemas.points import PointView
from service.api.schemas.problem import Advice
from service.api.schemas.sweeps import ObjectiveView
from service.api.schemas.trials import TrialView


class PlanePoint(Document):
    """The numbers of reflectors, the margin and the objective of one trial."""

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
    """The objectives of the trials with one pair of reflector counts and one margin that have a result."""

    count: int
    """The number of these trials that have an objective."""
    best: float
    """The largest of their objectives, or the smallest if the objective is minimised."""
    mean: float
    """The mean of their objectives."""


class Grid(Document):
    """The sweep's objective as a table: a row for each pair of reflector counts, a column for each margin."""

    reflectors: list[tuple[int, int]]
    """The pairs of reflector counts (left, right) of the rows, ascending."""
    margins: list[float]
    """The margins of the columns, ascending."""
    cells: list[list[GridCell | None]]
    """``cells[i][j]`` belongs to ``reflectors[i]`` and ``margins[j]``; null if no trial there has an objective."""


class SweepReport(Document):
    """The results of a sweep so far."""

    sweep_id: str
    """The sweep."""
    objective: ObjectiveView
    """The metric by which the trials are ranked, and its direction."""
    leaderboard: list[TrialView]
    """The 20 best trials that have a finite objective and neither failed nor were cancelled, best first."""
    points: list[PointView]
    """The 20 best points that have a result, best first; empty for a sweep without ``repeats``."""
    grid: Grid | None
    """The objective by reflectors and margin; null if ``places`` is empty or has more than 16 different pairs of
    reflector counts or margins."""
    places: list[PlanePoint]
    """One entry for every trial that has a margin and stands in the order of the leaderboard, best first."""
    warnings: list[Advice]
    """What makes the results hard to trust: sets that are tiny, unbalanced or share series, a feature that gives the
    target away, and, once the sweep has ended, a best result that is reached without a network."""
