"""Experiments and models that are deleted, purged, renamed or restored in MLflow while the service runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import mlflow.genai
import pytest
from mlflow import MlflowClient

from service.store.database import Database
from service.tracking.logged_models import log_model
from service.tracking.mlflow_runs import RunFields, Runs
from service.tracking.projector import Projector
from tests.service.tracking.sweep_story import Stories, drain, health, purge
from workers.spec.expand import plan_trial

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own database and client


def purge_experiment(client: MlflowClient, experiment_id: str) -> None:
    """Remove an experiment in the trash for good, as ``mlflow gc`` does."""
    runs = client.search_runs([experiment_id], run_view_type=2)
    purge(client, *(run.info.run_id for run in runs))
    client._tracking_client.store._hard_delete_experiment(experiment_id)


def experiment_of(client: MlflowClient, name: str = "spectral/adding") -> str:
    found = client.get_experiment_by_name(name)
    assert found is not None
    return str(found.experiment_id)


def test_an_experiment_deleted_while_a_sweep_runs_comes_back(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    client.delete_experiment(experiment_of(client))
    story.report(20)
    story.end()
    drain(projector)
    assert story.is_whole(10, 20)
    assert health(database).message == "answers"


def test_a_deleted_experiment_is_left_alone_until_a_sweep_needs_it(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    old, projector = stories(), controllers()
    old.report(10)
    old.end()
    drain(projector)
    unwanted = old.run(old.trials[0]).info.run_id
    client.delete_run(unwanted)
    drain(projector)
    client.delete_experiment(experiment_of(client))
    drain(projector)
    drain(controllers())
    found = client.get_experiment_by_name("spectral/adding")
    assert found is not None
    assert found.lifecycle_stage == "deleted"
    new = stories()
    new.report(10)
    new.end()
    drain(controllers())
    assert new.is_whole(10)
    assert new.run(new.id).info.experiment_id == found.experiment_id
    assert {old.run(subject).info.lifecycle_stage for subject in (old.id, old.trials[1])} == {"active"}
    assert client.get_run(unwanted).info.lifecycle_stage == "deleted"
    assert not old.waits


@pytest.mark.parametrize("next_one", ["", "another", "spectral/adding"])
@pytest.mark.parametrize("seen", [True, False])
def test_a_purged_experiment_is_made_anew_with_the_sweeps_that_are_wanted(
    next_one: str,
    seen: bool,
    stories: Stories,
    controllers: Callable[[], Projector],
    client: MlflowClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of one that was seen in the trash the old sweeps are not wanted; one that is just gone was lost.

    MLflow on SQLite gives the id of a purged experiment to the next one.
    """
    ended, paused, projector = stories(), stories(), controllers()
    ended.report(10)
    ended.end()
    paused.report(10)
    drain(projector)
    experiment = experiment_of(client)
    client.delete_experiment(experiment)
    if seen:
        drain(projector)
        projector = controllers()
    purge_experiment(client, experiment)
    if next_one:
        assert client.create_experiment(next_one) == experiment
    drain(projector)
    new = stories()
    new.report(10)
    new.end()
    paused.report(20)
    paused.end()
    drain(projector)
    assert new.is_whole(10)
    assert paused.is_whole(10, 20)
    assert new.run(new.id).info.experiment_id == experiment_of(client)
    if seen:
        assert ended.runs(ended.id) == []
        assert not ended.waits
    else:
        assert ended.is_whole(10)
    caplog.clear()
    drain(projector)
    assert caplog.messages == []


def test_sweeps_stay_in_a_renamed_experiment_and_new_ones_get_one_of_the_right_name(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    old, projector = stories(), controllers()
    old.report(10, 0)
    drain(projector)
    experiment = experiment_of(client)
    client.rename_experiment(experiment, "my thesis")
    new = stories()
    old.report(20)
    for story in (old, new):
        story.report(30)
        story.end()
    drain(projector)
    assert new.is_whole(30)
    assert old.steps(old.trials[1]) == [20, 30]
    assert {old.run(subject).info.experiment_id for subject in (old.id, *old.trials)} == {experiment}
    assert new.run(new.id).info.experiment_id == experiment_of(client) != experiment
    client.delete_experiment(experiment)  # it is not needed any more
    drain(controllers())
    found = client.get_experiment(experiment)
    assert (found.name, found.lifecycle_stage) == ("my thesis", "deleted")


def test_a_wiped_mlflow_gets_all_again_but_what_was_deleted(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    whole, part = stories(), stories()
    projector = controllers()
    for story in (whole, part):
        story.report(10)
        story.end()
    drain(projector)
    client.delete_run(part.run(part.trials[0]).info.run_id)
    drain(projector)
    experiment = experiment_of(client)
    client.delete_experiment(experiment)
    purge_experiment(client, experiment)
    drain(projector)
    assert whole.is_whole(10)
    assert part.runs(part.trials[0]) == []
    assert part.steps(part.trials[1]) == [10]
    assert part.run(part.id).info.status == "FINISHED"


def test_a_deleted_model_stays_deleted_and_is_not_registered(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    story.end(1)
    drain(projector)
    client.delete_logged_model(story.run(story.trials[1]).data.tags["spectral.model_id"])
    story.end(0)
    drain(projector)
    assert not story.waits
    assert story.run(story.id).info.status == "FINISHED"
    assert story.versions() == []
    assert health(database).healthy
    assert story.lacks(story.id) == "its best model is not in the model registry: it was deleted in MLflow before"


def test_a_tag_of_a_model_that_never_was_registers_nothing(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    client.set_tag(story.run(story.trials[1]).info.run_id, "spectral.model_id", "my model")
    story.end()
    drain(projector)
    assert not story.waits
    assert story.run(story.id).info.status == "FINISHED"
    assert story.versions() == []


@pytest.mark.parametrize("change", ["model deleted", "version deleted", "renamed"])
def test_what_was_changed_in_the_registry_is_not_done_again(
    change: str, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    story.end()
    drain(projector)
    (version,) = story.versions()
    if change == "model deleted":
        client.delete_registered_model(version.name)
    elif change == "version deleted":
        client.delete_model_version(version.name, version.version)
    else:
        client.rename_registered_model(version.name, "the best")
    trial = story.run(story.trials[0]).info.run_id
    client.delete_run(trial)
    drain(projector)
    client.restore_run(trial)  # so that the sweep's end is written once more
    drain(projector)
    assert not story.waits
    assert [version.name for version in story.versions()] == (["the best"] if change == "renamed" else [])
    new = stories()
    new.report(10)
    new.end()
    drain(projector)
    assert [found.name for found in new.versions()] == [version.name]


def test_a_name_that_a_prompt_has_is_left_to_it(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient, mlflow_url: str
) -> None:
    mlflow.set_tracking_uri(mlflow_url)
    mlflow.set_registry_uri(mlflow_url)
    mlflow.genai.register_prompt("margins", "Hello, {{name}}")
    story = stories()
    story.report(10)
    story.end()
    drain(controllers())
    assert not story.waits
    assert story.run(story.id).info.status == "FINISHED"
    assert story.versions() == []
    assert mlflow.genai.load_prompt("prompts:/margins@latest").version == 1
    assert "'margins' is the name of a prompt" in str(story.lacks(story.id))
    assert health(database).healthy


def test_removed_artifacts_come_back_when_their_runs_are_deleted_and_restored(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient, mlflow_folder: Path
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    shutil.rmtree(mlflow_folder / "mlruns", ignore_errors=True)
    story.end()
    drain(projector)
    assert story.is_whole(10)
    shutil.rmtree(mlflow_folder / "mlruns")
    runs = [story.run(subject).info.run_id for subject in (story.id, *story.trials)]
    for run_id in runs:
        client.delete_run(run_id)
    drain(projector)
    for run_id in runs:
        client.restore_run(run_id)
    drain(projector)
    assert story.is_whole(10)


def test_a_model_whose_files_cannot_be_stored_leaves_no_empty_model(
    stories: Stories, client: MlflowClient, mlflow_url: str, tmp_path: Path
) -> None:
    story = stories()
    runs = Runs(mlflow_url)
    experiment = runs.experiments.named("one").experiment_id
    run = runs.get(runs.create(experiment, 1.0, RunFields("name", {}, {})))
    spec = plan_trial(story.spec, 0, {"model.margin": 0.01}).require_spec()
    with pytest.raises(FileNotFoundError):
        log_model(client, run, spec, tmp_path / "nowhere", {}, name="model", step=0)
    assert list(client.search_logged_models([experiment])) == []
