"""Sweeps with repeats in MLflow: the table of points equals a recomputation from the runs of the trials."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from scipy import stats

from service.store import outbox, points, sweeps
from service.store.database import Database
from service.store.tables import Sweep
from service.tracking import plain_models
from service.tracking.projector import Projector
from tests.service.tracking.sweep_story import Stories, SweepStory, drain

# of MLflow's own database and of what it leaves to the garbage collector
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)

Lead = Callable[..., Projector]


@pytest.fixture
def story(
    database: Database, new_sweep: Callable[..., Sweep], client: MlflowClient, tmp_path: Path
) -> Callable[..., SweepStory]:
    """A function that makes a running sweep of two points with three repeats, whose later trials are better."""

    def make(**changes: Any) -> SweepStory:
        sweep = new_sweep(space={"model.margin": {"values": [0.01, 0.1]}}, repeats=3, **changes)
        return SweepStory(database, sweep, client, tmp_path)

    return make


def by_point(story: SweepStory, client: MlflowClient) -> dict[str, list[float]]:
    """Return the best loss that each run has in its history of metrics, grouped as MLflow's page groups by a tag."""
    found: dict[str, list[float]] = {}
    for trial in story.trials:
        run = story.run(trial)
        history = client.get_metric_history(run.info.run_id, "val/loss")
        found.setdefault(run.data.tags["spectral.point"], []).append(min(metric.value for metric in history))
    return found


def table_of(story: SweepStory, client: MlflowClient) -> pd.DataFrame:
    """Return the table of points as MLflow reads it."""
    run = story.run(story.id)
    mlflow.set_tracking_uri(client.tracking_uri)
    return client.load_table(run.info.experiment_id, "points.json", run_ids=[run.info.run_id])


def test_means_and_intervals_are_those_recomputed_from_mlflow(
    controllers: Lead, story: Callable[..., SweepStory], client: MlflowClient, database: Database
) -> None:
    own = story()
    for step in (10, 20):
        own.report(step)
    own.end()
    drain(controllers())
    assert own.is_whole(10, 20)
    table, recomputed = table_of(own, client), by_point(own, client)
    assert list(table["point"]) == [1, 0]
    for row in table.to_dict("records"):
        losses = recomputed[str(row["point"])]
        assert row["n"] == len(losses) == 3
        assert row["objective"] == row["mean"] == pytest.approx(sum(losses) / 3, rel=1e-12)
        assert row["sd"] == pytest.approx(stats.tstd(losses), rel=1e-9)
        expected = stats.t.interval(0.95, 2, row["mean"], stats.sem(losses))
        assert (row["low"], row["high"]) == pytest.approx(expected, rel=1e-9)
        assert row["model.margin"] == [0.01, 0.1][row["point"]]
    with database.read() as session:
        stored = {point.number: point for point in points.of_sweep(session, sweeps.get(session, own.id))}
    assert {row["point"]: row["mean"] for row in table.to_dict("records")} == pytest.approx(
        {number: point.summary.mean for number, point in stored.items()}, rel=1e-12
    )
    run = own.run(own.id)
    assert run.data.params["repeats"] == "3"
    assert run.data.tags["spectral.best_point"] == "1"
    assert run.data.metrics["best_point/val/loss"] == pytest.approx(stored[1].objective)
    assert run.data.metrics["best/val/loss"] == pytest.approx(1 / 25)
    assert [own.run(trial).data.tags["spectral.repeat"] for trial in own.trials] == ["0", "1", "2"] * 2


def test_a_table_that_is_written_again_has_its_rows_once(
    controllers: Lead, story: Callable[..., SweepStory], client: MlflowClient, database: Database
) -> None:
    own = story()
    own.report(10)
    own.end()
    drain(controllers())
    with database.write() as session:
        outbox.refill_one(session, own.id)
    drain(controllers())
    assert len(table_of(own, client)) == 2


def test_a_point_with_a_failed_trial_has_no_result_and_says_so(
    controllers: Lead, story: Callable[..., SweepStory], client: MlflowClient, tmp_path: Path
) -> None:
    own = story()
    own.report(10)
    own.end(0, 1, 2, 3, 4)
    own.end(5, state="failed")
    drain(controllers())
    table = table_of(own, client)
    assert list(table["point"]) == [0, 1]
    assert pd.isna(table["objective"][1])
    assert (table["n"][1], table["reason"][1]) == (2, "trial 5 failed")
    run = own.run(own.id)
    assert run.data.tags["spectral.best_trial"] == own.trials[2]
    assert [version.run_id for version in own.versions()] == [own.run(own.trials[2]).info.run_id]
    board = json.loads(Path(client.download_artifacts(run.info.run_id, "leaderboard.json", str(tmp_path))).read_text())
    assert [(point["point"], point["n"], point["trials"]) for point in board["points"]] == [
        (0, 3, [0, 1, 2]),
        (1, 2, [3, 4, 5]),
    ]


def test_the_network_without_our_code_is_that_of_the_best_trial_of_the_best_point(
    story: Callable[..., SweepStory], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = story()
    own.report(10)
    own.end(0, 1, 2, 3, 4)
    own.end(5, state="failed")
    asked: list[list[str]] = []

    def refuse(command: list[str], **_: Any) -> None:
        asked.append(command)
        raise OSError("no process")

    monkeypatch.setattr(plain_models.subprocess, "run", refuse)
    assert plain_models.of_best(database, own.id) == {}
    assert str(own.checkpoint(2, 10)) in asked[0], "trial 4 has a better objective, and its point has none"


def test_without_repeats_there_is_neither_table_nor_tag(
    controllers: Lead, stories: Stories, client: MlflowClient
) -> None:
    own = stories()
    own.report(10)
    own.end()
    drain(controllers())
    run = own.run(own.id)
    assert "points.json" not in {file.path for file in client.list_artifacts(run.info.run_id)}
    assert "spectral.point" not in own.run(own.trials[0]).data.tags
    assert "spectral.best_point" not in run.data.tags
