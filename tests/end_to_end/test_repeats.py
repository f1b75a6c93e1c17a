"""A sweep with repeats and early stopping, with real Ray and MLflow: its means equal a recomputation from MLflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from scipy import stats

from service.client import RestClient
from service.stack import Stack
from tests.end_to_end.mlflow_side import MlflowSide
from tests.end_to_end.small_sweep import SWEEP, Json
from workers.spec.ranking import has_result

# MLflow warns of its own type hints when it is imported
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")

REPEATED: Json = SWEEP | {
    "name": "repeated",
    "space": {"model.margin": [0.001, 0.01, 0.1], "model.reflectors": [1, 8]},
    "repeats": 3,
    "early_stopping": {"kind": "asha", "reduction": 2, "min_steps": 100},
    "resources": {"pack_size": 3},
}


def test_points_are_trained_ended_and_told_to_mlflow_as_wholes(
    client: RestClient, stack: Stack, tmp_path: Path
) -> None:
    sweep = client.wait(client.submit(REPEATED)["id"])
    assert sweep["state"] == "succeeded", sweep["reason"]
    points = list(client.points(sweep["id"]))
    assert len(points) == 6
    for point in points:
        assert [repeat["seed"] for repeat in point["repeats"]] == [0, 1, 2]
        assert len({repeat["state"] for repeat in point["repeats"]}) == 1, "a rule ends all repeats of a point or none"
        assert all(has_result(repeat["state"], repeat["objective"]) for repeat in point["repeats"])
    assert {point["repeats"][0]["state"] for point in points} == {"pruned", "succeeded"}
    assert sweep["best_point"] == points[0]
    assert sweep["best"]["id"] == points[0]["best_trial"]

    side = MlflowSide(stack, client, sweep["id"])
    losses: dict[str, list[float]] = {}
    for run in side.children.values():
        history = side.api.get_metric_history(run.info.run_id, "val/loss")
        losses.setdefault(run.data.tags["spectral.point"], []).append(min(metric.value for metric in history))
    file = side.api.download_artifacts(side.parent.info.run_id, "points.json", str(tmp_path))
    table = json.loads(Path(file).read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["point"] for row in rows] == [point["number"] for point in points]
    assert side.parent.data.tags["spectral.best_point"] == str(points[0]["number"])
    for point, row in zip(points, rows, strict=True):
        own = losses[str(point["number"])]
        assert point["mean"] == row["mean"] == pytest.approx(sum(own) / 3, rel=1e-12)
        assert point["interval"] == [row["low"], row["high"]]
        assert point["interval"] == pytest.approx(stats.t.interval(0.95, 2, point["mean"], stats.sem(own)), rel=1e-9)
