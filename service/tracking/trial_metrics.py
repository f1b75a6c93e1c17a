"""What of a trial's reports becomes metrics in MLflow: numbers, but no cells of arrays, and the best values so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from service.store.tables import TrialReport
from service.tracking.mlflow_runs import RunMetrics
from workers.spec.ranking import WITHOUT_RESULT

GRADIENTS, SPECTRUM = "grad_t/", "spectral_hist/"
"""The prefixes of the metrics that are cells of an array: gradient norms over time, and shares of singular values."""
BEST = "best/"
"""The prefix of the metrics at the step of a trial's best checkpoint."""
HELD_OUT = ("val/", "test/")
"""The prefixes of the metrics that also get the prefix ``BEST``."""


OF_THE_RUN = ("system/", "throughput/", "time/")
"""The prefixes of the metrics that say nothing of a checkpoint."""


def scalars(values: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics of a report that MLflow gets as metrics.

    The cells of arrays are left out, because MLflow would draw a chart for each. Of the gradient norms over time, the
    least and the greatest are kept.
    """
    found = {name: value for name, value in values.items() if not name.startswith((GRADIENTS, SPECTRUM))}
    norms = cells(values, GRADIENTS)
    return found | ({f"{GRADIENTS}min": min(norms), f"{GRADIENTS}max": max(norms)} if norms else {})


def cells(values: Mapping[str, float], prefix: str) -> list[float]:
    """Return the cells of one array of a report, in order of their names; none if the report does not have it."""
    return [values[name] for name in sorted(values) if name.startswith(prefix)]


def of_checkpoint(reports: Sequence[TrialReport], step: int, *, tested: bool) -> list[RunMetrics]:
    """Return the metrics of the checkpoint of a step, each at the step and the time of its report.

    Speed and load are left out.

    Args:
        reports: The trial's report at that step, and its last one.
        step: The step.
        tested: Whether the metrics of the test set are those of this checkpoint. They come with the trial's last
            report, and are measured on its best checkpoint.
    """
    found: list[RunMetrics] = []
    for report in reports:
        own = {
            name: value
            for name, value in scalars(report.values).items()
            if (tested if name.startswith("test/") else report.step == step and not name.startswith(OF_THE_RUN))
        }
        if own:
            found.append((report.step, report.at, own))
    return found


def best_so_far(reports: Sequence[TrialReport], step: int, *, tested: bool = False) -> RunMetrics | None:
    """Return the metrics ``best/...`` of a trial, which are those of the sets that are held out; None without a report.

    Args:
        reports: The trial's report at the step of its best checkpoint, and its last one.
        step: That step.
        tested: Whether the trial has ended, so that the metrics of the test set are those of this checkpoint.
    """
    points = of_checkpoint(reports, step, tested=tested)
    values = {name: value for _, _, own in points for name, value in own.items() if name.startswith(HELD_OUT)}
    at = next((report.at for report in reports if report.step == step), None)
    return None if at is None else (step, at, {f"{BEST}{name}": value for name, value in values.items()})


def best_at_end(reports: Sequence[TrialReport], step: int, state: str, at: float) -> RunMetrics | None:
    """Return what ``best_so_far`` does of a trial that has ended, at the time of its end.

    Of two points at one step, MLflow shows the later. The metrics are NaN, which MLflow sorts last in either direction,
    if the trial failed or was cancelled: its objective does not count then, and MLflow does not forget a metric.
    """
    found = best_so_far(reports, step, tested=True)
    if found is None:
        return None
    return step, at, dict.fromkeys(found[2], math.nan) if state in WITHOUT_RESULT else found[2]
