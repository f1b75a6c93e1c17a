"""The report of a sweep: its best trials, and the objective over reflectors and margin."""

from __future__ import annotations

from service.report.diagnostics import TrialDiagnostics
from service.report.importance import Importance
from service.report.learning_curves import LearningCurves
from service.report.parallel import ParallelPlot
from service.report.pareto import ParetoFront
from service.report.plane import PlaneCell
from service.report.progress import BestSoFar
from service.report.robust_scale import RobustScale
from service.schemas.document import Document
from service.schemas.points import PointView
from service.schemas.problem import Advice
from service.schemas.sweeps import ObjectiveView
from service.schemas.trials import TrialView


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
    details: list[list[PlaneCell]]
    """The same table with every cell: spread over repeats, failures, and why a cell has no result."""
    scale: RobustScale
    """The range of the best objectives for colours, without extremes such as 1e30."""


class SweepReport(Document):
    """The results of a sweep so far."""

    sweep_id: str
    """The sweep."""
    objective: ObjectiveView
    """The metric by which the trials are ranked, and its direction."""
    objectives: list[ObjectiveView]
    """The objective, and the further objectives of the sweep's document after it."""
    leaderboard: list[TrialView]
    """The 20 best trials that have a finite objective and neither failed nor were cancelled, best first."""
    points: list[PointView]
    """The 20 best points that have a result, best first; empty for a sweep without ``repeats``."""
    grid: Grid | None
    """The objective by reflectors and margin; null if no trial that has a margin has a result or failed, or if there
    are more than 16 different pairs of reflector counts or margins."""
    places: list[PlanePoint]
    """One entry for every trial that has a margin and stands in the order of the leaderboard, best first."""
    warnings: list[Advice]
    """What makes the results hard to trust: sets that are tiny, unbalanced or share series, a feature that gives the
    target away, and, once the sweep has ended, a best result that is reached without a network."""
    importance: Importance | None
    """How much each swept field matters for being among the best trials; null unless it is asked for."""
    learning_curves: LearningCurves | None
    """The objective over the steps; null unless it is asked for."""
    best_so_far: BestSoFar | None
    """The best objective over trials and device-hours; null unless it is asked for."""
    parallel_coordinates: ParallelPlot | None
    """One line for each trial over the swept fields; null unless it is asked for."""
    pareto: ParetoFront | None
    """The trade-off between several objectives; null unless it is asked for, and if there is one objective."""
    diagnostics: TrialDiagnostics | None
    """Singular values and gradients of one trial over training; null unless they are asked for."""
