"""The figures of a report by name; a new one is a function and a line in the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from service.report import diagnostic_figures, objective_figures, space_figures
from service.report.analysis import Analysis
from service.report.drawing import NothingToDraw
from service.report.figure_names import FigureName
from service.report.record import SweepRecord, TrialRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from service.report.diagnostics import TrialDiagnostics

OF_SWEEP: dict[FigureName, Callable[[Analysis], Figure]] = {
    "results": objective_figures.results,
    "learning_curves": objective_figures.learning_curves,
    "best_so_far": objective_figures.best_so_far,
    "importance": space_figures.importance,
    "parallel_coordinates": space_figures.parallel_coordinates,
    "pareto": space_figures.pareto,
}
OF_TRIAL: dict[FigureName, Callable[[SweepRecord, TrialDiagnostics], Figure]] = {
    "spectrum": diagnostic_figures.spectrum,
    "gradients": diagnostic_figures.gradients,
}


def draw(name: FigureName, analysis: Analysis, row: TrialRow | None = None) -> Figure:
    """Return a figure.

    Args:
        name: The figure.
        analysis: The sweep.
        row: The trial that a figure of one trial shows; None for the best one.

    Raises:
        NothingToDraw: There is nothing to show; the message says why.
    """
    if name in OF_SWEEP:
        return OF_SWEEP[name](analysis)
    found = analysis.best_diagnostics if row is None else analysis.diagnostics(row)
    if found is None:
        raise NothingToDraw(objective_figures.NO_RESULT)
    return OF_TRIAL[name](analysis.record, found)
