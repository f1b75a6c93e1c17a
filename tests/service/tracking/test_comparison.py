"""Comparing in MLflow: experiments, names, inputs, and a ranking of runs and of models that is that of the service."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import ViewType

from service.states import TrialState
from service.store import checkpoints, outbox, projections, reopening, reports, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial, TrialCheckpoint
from service.tracking import plain_models, trial_images
from service.tracking.projector import Projector
from tests.service.tracking.sweep_story import Stories, SweepStory, drain
from workers.models import load

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own database and client
Controllers = Callable[..., Projector]
RANKED = {"field_name": "metrics.val/loss", "ascending": True}


def of_trials(client: MlflowClient, story: SweepStory, order: str) -> list[str]:
    """Return the trials of a sweep as MLflow's search ranks their runs."""
    experiment = story.run(story.id).info.experiment_id
    query = f"tags.`spectral.sweep_id` = '{story.id}' AND tags.`spectral.kind` = 'trial'"
    found = client.search_runs([experiment], query, order_by=[order])
    return [run.data.tags["spectral.trial_id"] for run in found]


@pytest.fixture
def many(
    database: Database, new_sweep: Callable[..., Sweep], client: MlflowClient, tmp_path: Path
) -> Callable[..., SweepStory]:
    """A function that makes a running sweep of six trials."""
    values = [0.01, 0.02, 0.03, 0.05, 0.1, 0.2]

    def make(**changes: object) -> SweepStory:
        return SweepStory(database, new_sweep(space={"model.margin": {"values": values}}, **changes), client, tmp_path)

    return make


def add_report(database: Database, story: SweepStory, number: int, step: int, values: dict[str, float]) -> None:
    """Report metrics that are no better than those before."""
    with database.write() as session:
        outbox.trial_metrics(
            session, story.id, reports.add(session, story.trials[number], [(step, values)], 1000.0 + step)
        )


@pytest.mark.parametrize("direction", ["ASC", "DESC"])
def test_mlflow_ranks_as_the_service_does_pruned_and_failed_trials_too(
    direction: str, database: Database, many: Callable[..., SweepStory], controllers: Controllers, client: MlflowClient
) -> None:
    to_maximise = direction == "DESC"
    story = many(objective={"metric": "val/loss", "direction": "maximize" if to_maximise else "minimize"})
    projector = controllers()
    story.report(10)
    drain(projector)
    story.report(20, 1, 3)
    add_report(database, story, 5, 30, {"val/loss": 9.0})  # the last value says nothing about the best one
    states: dict[TrialState, list[int]] = {"failed": [5], "cancelled": [4], "pruned": [3, 0], "succeeded": [1, 2]}
    for state, numbers in states.items():
        story.end(*numbers, state=state)
    drain(projector)
    with database.read() as session:
        rows = trials.ranked(session, story.id, "maximize" if to_maximise else "minimize", limit=10)
        expected = [row.id for row in rows if row.state in ("succeeded", "pruned")]
    assert len(expected) == 4
    found = of_trials(client, story, f"metrics.`best/val/loss` {direction}")
    assert found[:4] == expected
    assert set(found[4:]) == {story.trials[4], story.trials[5]}
    kept = story.run(story.trials[3])
    assert kept.data.metrics["best/val/loss"] == pytest.approx(1 / 23)


def test_a_trial_that_failed_and_then_succeeded_is_ranked_again(
    database: Database, stories: Stories, controllers: Controllers, client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    story.end(0)
    story.end(1, state="failed")
    drain(projector)
    assert np.isnan(story.run(story.trials[1]).data.metrics["best/val/loss"])
    with database.write() as session:
        reopening.rerun_trial(session, story.trials[1])
        trials.move(session, session.get_one(Trial, story.trials[1]), "running")
    story.end(1)
    drain(projector)
    assert story.run(story.trials[1]).data.metrics["best/val/loss"] == pytest.approx(1 / 11)
    assert of_trials(client, story, "metrics.`best/val/loss` ASC") == [story.trials[1], story.trials[0]]


def test_a_trial_with_more_steps_goes_on_in_its_run_and_gets_the_model_of_its_new_best_checkpoint(
    database: Database, stories: Stories, controllers: Controllers, client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    story.end()
    drain(projector)
    trial_id = story.trials[1]
    before = story.run(trial_id)
    first = story.row(trial_id)
    assert first is not None
    with database.write() as session:
        sweep, trial = session.get_one(Sweep, story.id), session.get_one(Trial, trial_id)
        reopening.train_longer(session, sweep, {trial: story.spec.training.steps}, 1_000)
    drain(projector)
    assert story.run(trial_id).info.status == "RUNNING"
    with database.write() as session:
        trials.move(session, session.get_one(Trial, trial_id), "running")
    story.report(20, 1)
    story.end(1)
    drain(projector)
    after, last = story.run(trial_id), story.row(trial_id)
    assert last is not None
    assert (after.info.run_id, after.info.status) == (before.info.run_id, "FINISHED")
    assert after.data.metrics["best/val/loss"] == pytest.approx(1 / 21)
    assert story.steps(trial_id) == [10, 20]
    assert last.model_id not in (None, first.model_id)
    assert client.get_logged_model(str(last.model_id)).tags["spectral.step"] == "20"
    assert client.get_logged_model(str(first.model_id)).tags["spectral.step"] == "10"


def test_every_kept_checkpoint_is_a_model_that_mlflow_ranks_by_its_metrics(
    database: Database, many: Callable[..., SweepStory], controllers: Controllers, client: MlflowClient
) -> None:
    story, projector = many(checkpoints={"keep_every": 20}), controllers()
    for step in (10, 20, 30):
        story.report(step)
    # the best checkpoint is not the last one, and the test set was measured on the best
    path = str(story.checkpoint(5, 40))
    with database.write() as session:
        new = reports.add(session, story.trials[5], [(40, {"val/loss": 0.5, "test/loss": 0.25})], at=1040.0)
        outbox.trial_metrics(session, story.id, new)
        last = TrialCheckpoint(trial_id=story.trials[5], step=40, path=path, best=False, objective=0.5)
        checkpoints.add(session, last)
    story.end()
    drain(projector)
    drain(projector)
    experiment = story.run(story.id).info.experiment_id
    models = client.search_logged_models([experiment], order_by=[RANKED], max_results=50)
    steps = [(model.tags["spectral.trial_id"][-1], int(model.tags["spectral.step"])) for model in models]
    ranked = [(str(n), step) for n in range(6) for step in (20, 30)]
    ranked.sort(key=lambda of: 1.0 / (of[1] + int(of[0])))
    ranked.remove(("5", 20))  # its files gave way to those of step 40
    assert steps == [*ranked, ("5", 40)]
    best, worst = models[0], models[-1]
    name = story.run(story.id).info.run_name
    assert (best.name, worst.name) == (f"{name}-5-step-30", f"{name}-5-step-40")
    assert {(m.key, m.step, m.value) for m in worst.metrics} == {("val/loss", 40, 0.5)}
    assert {(m.key, m.step) for m in best.metrics} == {("val/loss", 30), ("test/loss", 40)}
    assert {metric.dataset_name for metric in best.metrics} == {"adding"}
    assert best.params["step"] == "30"
    run = story.run(story.trials[5])
    assert run.data.tags["spectral.model_id"] == best.model_id
    assert run.data.metrics["best/test/loss"] == 0.25
    assert len(client.get_metric_history(run.info.run_id, "val/loss")) == 4  # a model's metrics add none to the run
    row = story.row(story.trials[5])
    assert row is not None
    assert row.model_id == best.model_id
    # what is written again makes nothing twice
    with database.write() as session:
        for trial in story.trials:
            outbox.refill_one(session, trial)
    drain(controllers())
    assert len(client.search_logged_models([experiment], max_results=50)) == 12


ARRAYS = {f"grad_t/{i:02d}": 10.0**-i for i in range(16)} | {f"spectral_hist/{i}": 0.1 for i in range(10)}


def test_arrays_are_a_file_and_images_by_step_and_no_metrics(
    database: Database, stories: Stories, controllers: Controllers, client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    add_report(database, story, 1, 11, {"val/loss": 1.0} | ARRAYS)
    drain(projector)
    run = story.run(story.trials[1])

    def images() -> list[tuple[str, int]]:
        files = [file.path for file in client.list_artifacts(run.info.run_id, "images")]
        parts = [file.removeprefix("images/").split("+") for file in files if file.endswith(".png")]
        assert len(files) == 2 * len(parts)  # each with its preview
        return sorted((part[0], int(part[2])) for part in parts)

    live = [("gradient norms", 11), ("singular values", 11)]
    assert images() == live
    assert run.data.tags["mlflow.loggedImages"] == "True"
    assert {name for name in run.data.metrics if name.startswith(("grad_t", "spectral_hist"))} == {
        "grad_t/min",
        "grad_t/max",
    }
    add_report(database, story, 1, 12, {"val/loss": 1.0} | ARRAYS)
    story.end()
    drain(projector)
    assert images() == sorted([*live, ("gradient norms", 12), ("singular values", 12)])
    path = client.download_artifacts(run.info.run_id, trial_images.ARRAYS)
    found = json.loads(Path(path).read_text())
    assert found["gradient_norms"]["steps"] == [11, 12]
    assert found["gradient_norms"]["values"][0] == [10.0**-i for i in range(16)]
    assert len(found["singular_value_shares"]["edges"]) == 11
    with database.write() as session:
        outbox.refill(session, story.id)
    drain(controllers())
    assert len(images()) == 4


def test_a_large_sweep_gets_images_only_at_the_end(
    database: Database,
    stories: Stories,
    controllers: Controllers,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trial_images, "LIVE_TRIALS", 1)
    story, projector = stories(), controllers()
    story.report(10)
    for number in (0, 1):
        add_report(database, story, number, 11, {"val/loss": 1.0} | ARRAYS)
    drain(projector)
    runs = [story.run(trial).info.run_id for trial in story.trials]
    assert [client.list_artifacts(run, "images") for run in runs] == [[], []]
    story.end(0, state="pruned")
    story.end(1)
    drain(projector)
    assert [len(client.list_artifacts(run, "images")) for run in runs] == [0, 4]


def test_runs_say_what_they_are(
    stories: Stories, controllers: Controllers, client: MlflowClient, database: Database
) -> None:
    story, projector = stories(), controllers()
    projector._page = "http://service:8000"
    story.report(10)
    story.end()
    drain(projector)
    own, run = story.run(story.id), story.run(story.trials[1])
    assert client.get_experiment(own.info.experiment_id).name == "spectral/adding"
    assert run.info.run_name == "m0.1 #1"
    assert f"(http://service:8000/#{story.id})" in own.data.tags["mlflow.note.content"]
    assert f"(http://service:8000/#{story.id})" in run.data.tags["mlflow.note.content"]
    assert {"spectral.version", "spectral.torch", "spectral.python", "mlflow.user"} <= run.data.tags.keys()
    assert [name for name in run.data.params if "reflectors" in name] == ["model.reflectors"]
    assert own.data.params["task.length"] == "20"
    assert "model.margin" not in own.data.params  # it is searched
    inputs = [given.dataset for given in run.inputs.dataset_inputs]
    assert [(one.name, len(one.digest)) for one in inputs] == [("adding", 32)]
    assert [one.dataset.digest for one in own.inputs.dataset_inputs] == [inputs[0].digest]
    document = json.loads(Path(client.download_artifacts(own.info.run_id, "sweep.json")).read_text())
    assert document["space"]["model.margin"]["values"] == [0.01, 0.1]
    (version,) = story.versions()
    assert client.get_model_version_by_alias(version.name, "candidate").version == version.version
    assert "val/loss = 0.0909" in version.description


def test_a_sweep_names_its_experiment(
    database: Database, new_sweep: Callable[..., Sweep], client: MlflowClient, tmp_path: Path, controllers: Controllers
) -> None:
    story = SweepStory(database, new_sweep(experiment="my study"), client, tmp_path)
    story.report(10)
    drain(controllers())
    assert client.get_experiment(story.run(story.id).info.experiment_id).name == "my study"


def test_the_tags_of_a_sweep_are_a_tag_of_its_run_and_follow_a_change(
    database: Database, many: Callable[..., SweepStory], controllers: Controllers
) -> None:
    story = many(tags=["red", "big"])
    projector = controllers()
    drain(projector)
    assert story.run(story.id).data.tags["spectral.tags"] == "big, red"
    for tags, told in ((["blue"], "blue"), ([], "")):
        with database.write() as session:
            sweeps.change(session, story.id, {"tags": tags})
        drain(projector)
        assert story.run(story.id).data.tags["spectral.tags"] == told


@pytest.mark.parametrize("stored", [True, False])
def test_a_sweep_of_an_earlier_release_goes_on_where_it_began(
    stored: bool, database: Database, stories: Stories, controllers: Controllers, client: MlflowClient
) -> None:
    """Also if the runs were created and their ids not stored."""
    story = stories()
    earlier = client.create_experiment("spectral")
    tags = {"spectral.sweep_id": story.id, "spectral.kind": "sweep"}
    parent = client.create_run(earlier, tags=tags).info.run_id
    tags = {"spectral.sweep_id": story.id, "spectral.kind": "trial", "spectral.trial_id": story.trials[0]}
    child = client.create_run(earlier, tags={**tags, "mlflow.parentRunId": parent}).info.run_id
    if stored:
        with database.write() as session:
            projections.put(session, story.id, earlier, parent)
            projections.put(session, story.trials[0], earlier, child)
    story.report(10)
    story.end()
    drain(controllers())
    assert story.is_whole(10)
    assert story.run(story.id).info.run_id == parent
    assert story.run(story.trials[0]).info.run_id == child
    assert {story.run(subject).info.experiment_id for subject in (story.id, *story.trials)} == {earlier}
    new = stories()
    new.report(10)
    drain(controllers())
    assert new.run(new.id).info.experiment_id != earlier


def test_the_best_network_is_registered_without_our_code_too(
    database: Database,
    stories: Stories,
    controllers: Controllers,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    real_export: Callable[..., dict[str, bytes]],
) -> None:
    projector = controllers()
    monkeypatch.setattr(plain_models, "of_best", real_export)
    story = stories()
    story.report(10)
    story.end()
    drain(projector)
    run = story.run(story.trials[1])
    name = story.run(story.id).info.run_name
    inputs = np.random.default_rng(0).random((3, 7, 2), np.float32)
    lengths = np.array([7, 2, 5])
    with torch.inference_mode():
        expected = load(story.checkpoint(1, 10))(torch.from_numpy(inputs), torch.from_numpy(lengths)).numpy()
    own = mlflow.pyfunc.load_model(f"models:/{name}@candidate").predict(inputs, params={"lengths": [7, 2, 5]})
    np.testing.assert_array_equal(own, expected)
    plain = mlflow.pyfunc.load_model(f"models:/{name}-torch@candidate")
    np.testing.assert_allclose(plain.predict(inputs, params={"lengths": [7, 2, 5]}), expected, rtol=1e-5, atol=1e-5)
    onnx = mlflow.pyfunc.load_model(f"models:/{name}-onnx@candidate")
    found = onnx.predict({"input": inputs, "lengths": lengths})
    np.testing.assert_allclose(found["output"], expected, rtol=1e-5, atol=1e-5)
    # written again: nothing is made twice, and nothing that is named is removed
    with database.write() as session:
        outbox.refill_one(session, story.id)
    drain(controllers())
    assert len(client.search_logged_models([run.info.experiment_id])) == 4
    assert sorted(version.name for version in story.versions()) == [name, f"{name}-onnx", f"{name}-torch"]
    assert [run.info.lifecycle_stage for run in story.runs(story.trials[1])] == ["active"]
    assert client.search_runs([run.info.experiment_id], run_view_type=ViewType.DELETED_ONLY) == []
