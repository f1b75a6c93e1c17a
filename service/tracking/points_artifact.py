"""The table of a sweep's points in its MLflow run, in the form in which MLflow stores and shows tables."""

from __future__ import annotations

import json
from typing import Any

from service.tracking.sweep_results import SweepResults
from workers.spec.repeats import without_seed

FILE = "points.json"
"""The name of the artifact. ``mlflow.load_table`` reads it."""
TABLE_TAGS = {"mlflow.loggedArtifacts": json.dumps([{"path": FILE, "type": "table"}])}
"""The tag of the run by which MLflow finds the table among its artifacts.

The table and the tag are written as they are: ``MlflowClient.log_table`` would append the rows to those that an earlier
call has written.
"""


def table(found: SweepResults) -> dict[str, Any]:
    """Return the points of a sweep with repeats, the best first, as columns and rows (pandas' orientation ``split``).

    ``objective`` is the statistic that the sweep asks for, and None for a point without a result; ``n``, ``mean``,
    ``sd`` and the ends ``low`` and ``high`` of the 95 % interval are those of its trials that have a result.
    """
    swept, repeats = list(found.spec.space), found.spec.repeats
    params = {result.trial.number: result.trial.params for result in found.results}
    rows = []
    for rank, point in enumerate(found.points, 1):
        own = without_seed(params[point.repeats[0].number], repeats)
        spread = [point.summary.n, point.summary.mean, point.summary.sd, *(point.summary.interval or (None, None))]
        values = [own.get(path) for path in swept]
        rows.append([rank, point.number, point.objective, *spread, *values, point.missing])
    columns = ["rank", "point", "objective", "n", "mean", "sd", "low", "high", *swept, "reason"]
    return {"columns": columns, "data": rows}
