"""Everything that a report of a sweep shows, each part computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from service.report import diagnostics, importance, learning_curves, parallel, pareto, plane, progress
from service.report.diagnostics import StepMetrics, TrialDiagnostics
from service.report.record import SweepRecord, TrialRow
from workers.spec.pruning_rules import Curve

CurveReader = Callable[[Sequence[TrialRow], str, int], Iterable[tuple[int, Curve]]]
"""Returns the number and the curve of a metric of each of some trials, thinned to a number of points."""
ReportReader = Callable[[TrialRow], Sequence[StepMetrics]]
"""Returns the reports of a trial in order of step."""
CURVE_POINTS = 400
"""About the most points of a curve that are read."""


class Analysis:
    """A sweep, and what can be computed of it.

    Args:
        record: The sweep.
        read_curves: Reads curves of trials.
        read_reports: Reads the reports of a trial.
    """

    def __init__(self, record: SweepRecord, read_curves: CurveReader, read_reports: ReportReader) -> None:
        self.record = record
        self._read_curves, self._read_reports = read_curves, read_reports

    @cached_property
    def grid(self) -> plane.PlaneGrid | None:
        """The objective by reflectors and margin; None if there is nothing to show, or too much."""
        return plane.grid_of(plane.places_of(self.record), self.record.objective.direction)

    @cached_property
    def importance(self) -> importance.Importance:
        """How much each swept field matters."""
        return importance.importance(self.record)

    @cached_property
    def learning_curves(self) -> learning_curves.LearningCurves:
        """The objective over the steps."""
        wanted = learning_curves.wanted_rows(self.record)
        curves = dict(self._read_curves(wanted, self.record.objective.metric, CURVE_POINTS))
        return learning_curves.learning_curves(self.record, curves)

    @cached_property
    def best_so_far(self) -> progress.BestSoFar:
        """The best objective over trials and device-hours."""
        return progress.best_so_far(self.record)

    @cached_property
    def parallel(self) -> parallel.ParallelPlot:
        """The trials in parallel coordinates."""
        return parallel.parallel(self.record)

    @cached_property
    def pareto(self) -> pareto.ParetoFront | None:
        """The trade-off between several objectives; None if there is one, or no trial has all values."""
        return pareto.pareto(self.record)

    def diagnostics(self, row: TrialRow) -> TrialDiagnostics:
        """Return the singular values and gradient norms of a trial over training."""
        return diagnostics.diagnostics(self.record, row, self._read_reports(row))

    @cached_property
    def best_diagnostics(self) -> TrialDiagnostics | None:
        """Those of the best trial; None if no trial has a result."""
        return None if self.record.best is None else self.diagnostics(self.record.best)
