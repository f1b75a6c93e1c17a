"""What one trial looked like inside over training: its singular values and the norms of its gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.report.record import SweepRecord, TrialRow
from service.report.thinning import thin
from workers.spec.expand import plan_trial

MAX_REPORTS = 200
"""About the most reports that are shown."""

StepMetrics = tuple[int, Mapping[str, float]]
"""The metrics of a trial at one step, by name."""


@dataclass(frozen=True)
class SingularValues:
    """Singular values over training.

    Attributes:
        low: The lower end of the band that the margin leaves, sigma* - r; None if that is not known.
        high: The upper end, sigma* + r; None if that is not known.
        ends: (step, smallest, largest singular value) at each report that has them.
        shares: (step, share of the singular values in each tenth of the band) at each report that has them.
    """

    low: float | None
    high: float | None
    ends: list[tuple[int, float, float]]
    shares: list[tuple[int, list[float]]]


@dataclass(frozen=True)
class GradientNorms:
    """|dL/dh_t| over training.

    Attributes:
        times: The times t in the sequence, from 0 to its length.
        norms: (step, the norm at each of these times) at each report that has them.
    """

    times: list[float]
    norms: list[tuple[int, list[float]]]


@dataclass(frozen=True)
class TrialDiagnostics:
    """The singular values and gradient norms of one trial; None for what it has not reported."""

    number: int
    trial_id: str
    singular_values: SingularValues | None
    gradient_norms: GradientNorms | None


def diagnostics(record: SweepRecord, row: TrialRow, reports: Sequence[StepMetrics]) -> TrialDiagnostics:
    """Return the diagnostics of a trial.

    Args:
        record: The sweep.
        row: The trial.
        reports: Its reports in order of step.
    """
    return TrialDiagnostics(row.number, row.trial_id, _singular(record, row, reports), _gradients(record, row, reports))


def _singular(record: SweepRecord, row: TrialRow, reports: Sequence[StepMetrics]) -> SingularValues | None:
    ends = [
        (step, float(values["spectral/min"]), float(values["spectral/max"]))
        for step, values in reports
        if _finite(values, ("spectral/min", "spectral/max"))
    ]
    if not ends:
        return None
    model = None
    if record.spec is not None:
        swept = {path[6:]: value for path, value in row.params.items() if path.startswith("model.")}
        model = record.spec.model.model_copy(update=swept)
    known = model is not None and model.spectral
    low = model.band_centre - model.band_margin if known and model else None
    high = model.band_centre + model.band_margin if known and model else None
    return SingularValues(low, high, thin(ends, MAX_REPORTS), _snapshots(reports, "spectral_hist/"))


def _gradients(record: SweepRecord, row: TrialRow, reports: Sequence[StepMetrics]) -> GradientNorms | None:
    norms = _snapshots(reports, "grad_t/")
    if not norms:
        return None
    count, length = len(norms[0][1]), float(len(norms[0][1]) - 1)
    if record.spec is not None:
        spec = plan_trial(record.spec, row.number, row.params).spec
        length = float(spec.depth) if spec else length
    return GradientNorms([length * i / max(1, count - 1) for i in range(count)], norms)


def _snapshots(reports: Sequence[StepMetrics], prefix: str) -> list[tuple[int, list[float]]]:
    """Return the values of the metrics with a prefix, in order of name, at each report that has them all."""
    names = sorted({name for _, values in reports for name in values if name.startswith(prefix)})
    found = [
        (step, [float(values[name]) for name in names]) for step, values in reports if names and _finite(values, names)
    ]
    return thin(found, MAX_REPORTS)


def _finite(values: Mapping[str, float], names: Sequence[str]) -> bool:
    return all(isinstance(values.get(name), int | float) and math.isfinite(values[name]) for name in names)
