"""A sweep from its document to a model that predicts."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from service.client import RestClient
from service.stack import Stack
from tests.end_to_end.mlflow_side import MlflowSide
from tests.end_to_end.small_sweep import PLOTS, STEPS, SWEEP, Json
from tests.waiting import until
from workers.models import load
from workers.tasks import Adding

# MLflow warns of its own type hints when it is imported
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def side(stack: Stack, client: RestClient, undisturbed: Json) -> MlflowSide:
    return MlflowSide(stack, client, undisturbed["id"])


def test_every_trial_succeeds_and_reports_each_step_once(client: RestClient, undisturbed: Json) -> None:
    trials = list(client.trials(undisturbed["id"]))
    assert [trial["state"] for trial in trials] == ["succeeded"] * 4
    for trial in trials:
        assert [point["step"] for point in client.metrics(trial["id"])] == STEPS
    assert undisturbed["best"]["objective"] == min(trial["objective"] for trial in trials)


def test_what_the_workers_printed_is_kept(client: RestClient, undisturbed: Json) -> None:
    for trial in client.trials(undisturbed["id"]):
        lines = client.logs(trial["id"], "output")["lines"]
        texts = [line["text"] for line in lines]
        assert texts.count(f"trial {trial['id']}: begins at step 0") == 1
        assert texts[-1] == f"trial {trial['id']}: succeeded at step {STEPS[-1]}"
        assert sum(f"torch: {torch.__version__}" in text for text in texts) == 1


def test_events_tell_the_whole_story_without_a_gap(client: RestClient, undisturbed: Json) -> None:
    events = list(client.events(undisturbed["id"]))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [e["kind"] for e in events if e["kind"].startswith("sweep.")] == [
        "sweep.queued", "sweep.running", "sweep.succeeded",
    ]  # fmt: skip
    assert sum(event["kind"] == "trial.metrics" for event in events) == 4 * len(STEPS)


def test_mlflow_has_a_parent_and_a_run_for_each_trial(client: RestClient, side: MlflowSide, undisturbed: Json) -> None:
    assert side.count == 5
    assert sorted(side.children) == [0, 1, 2, 3]
    assert {run.info.status for run in (side.parent, *side.children.values())} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in side.children.values()} == {side.parent.info.run_id}
    assert side.parent.info.run_id in client.sweep(undisturbed["id"])["mlflow_url"]
    assert side.children[3].data.params["model.margin"] == "0.1"


def test_mlflow_has_each_metric_of_each_step_once(side: MlflowSide) -> None:
    side.assert_tells_what_the_api_tells()


def test_mlflow_has_plots_leaderboard_and_checkpoints(side: MlflowSide, undisturbed: Json, tmp_path: Path) -> None:
    assert side.artifacts(side.parent, "plots") == PLOTS
    path = side.api.download_artifacts(side.parent.info.run_id, "leaderboard.json", str(tmp_path))
    board = json.loads(Path(path).read_text())
    assert [row["rank"] for row in board["trials"]] == [1, 2, 3, 4]
    assert board["trials"][0]["trial_id"] == undisturbed["best"]["id"]
    for run in side.children.values():
        assert side.artifacts(run, "checkpoints") == {"checkpoints/best", "checkpoints/last"}


def test_every_model_predicts_as_its_checkpoint_does(
    stack: Stack, client: RestClient, side: MlflowSide, undisturbed: Json
) -> None:
    mlflow.set_tracking_uri(stack.mlflow_url)
    task = Adding(length=20)
    inputs = task.fresh(np.random.default_rng(0), 7).inputs
    for trial in client.trials(undisturbed["id"]):
        model = mlflow.pyfunc.load_model(client._json("GET", f"/v1/trials/{trial['id']}/model")["uri"])
        found = client._json("GET", f"/v1/trials/{trial['id']}/checkpoint")
        network = load(found["best"]["path"])
        expected = network(torch.from_numpy(inputs)).detach().numpy()
        np.testing.assert_array_equal(model.predict(inputs), expected)
        assert found["last"]["step"] == STEPS[-1]


def test_the_best_model_is_registered_under_the_sweeps_name(stack: Stack, side: MlflowSide, undisturbed: Json) -> None:
    mlflow.set_tracking_uri(stack.mlflow_url)
    versions = side.api.search_model_versions(f"name = '{SWEEP['name']}'")
    best = side.children[undisturbed["best"]["number"]].info.run_id
    mine = [v for v in versions if v.tags["spectral.sweep_id"] == undisturbed["id"]]
    assert [version.run_id for version in mine] == [best]
    model = mlflow.pyfunc.load_model(f"models:/{SWEEP['name']}/{mine[0].version}")
    assert model.predict(np.zeros((3, 20, 2), np.float32)).shape == (3, 1)


def test_the_best_and_last_checkpoints_are_left_and_what_they_take_is_known(
    client: RestClient, side: MlflowSide, undisturbed: Json
) -> None:
    """``side`` waits until MLflow has its copies."""

    def left() -> bool:
        folders = [path for trial in kept for path in trial["folder"].iterdir()]
        return sorted(folders) == sorted({path for trial in kept for path in trial["wanted"]})

    kept = []
    for trial in client.trials(undisturbed["id"]):
        found = client._json("GET", f"/v1/trials/{trial['id']}/checkpoint")
        wanted = {Path(found[which]["path"]) for which in ("best", "last")}
        kept.append({"folder": next(iter(wanted)).parent, "wanted": wanted})
    until(left)
    size = sum(file.stat().st_size for trial in kept for path in trial["wanted"] for file in path.iterdir())
    until(lambda: client.sweep(undisturbed["id"])["checkpoint_bytes"] == size)
    # other sweeps of this service have checkpoints too
    until(lambda: client._json("GET", "/v1/cluster")["parts"]["checkpoints"]["detail"]["used_bytes"] >= size)
