"""Runs that are deleted, purged, restored or edited in MLflow while their sweep is written, and after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from service.store.database import Database
from service.tracking.mlflow_experiments import ExperimentDeleted
from service.tracking.mlflow_runs import RunDeleted, RunFields, RunGone, Runs
from service.tracking.projector import Projector
from tests.service.tracking.sweep_story import Stories, SweepStory, drain, health, purge

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own database and client


def test_a_deleted_trial_stays_deleted_and_the_rest_is_written(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    one, two = story.trials
    client.delete_run(story.run(two).info.run_id)
    story.report(20)
    story.end()
    drain(projector)
    assert not story.waits
    assert (story.run(two).info.lifecycle_stage, story.steps(two)) == ("deleted", [10])
    assert (story.run(one).info.status, story.steps(one)) == ("FINISHED", [10, 20])
    own = story.run(story.id)
    assert own.info.status == "FINISHED"
    assert {"leaderboard.json", "plots", "sweep.json"} == {file.path for file in client.list_artifacts(own.info.run_id)}
    assert own.data.tags["spectral.best_trial"] == two
    assert "spectral.best_run" not in own.data.tags
    assert health(database).healthy
    assert health(database).detail["lacks"] == {
        story.id: "its best model is not in the model registry: the run of trial 1 was deleted in MLflow",
        two: "its run was deleted in MLflow before it had everything; once it is restored there, it gets the rest",
    }
    client.restore_run(story.run(two).info.run_id)
    drain(projector)
    assert story.is_whole(10, 20)
    assert (health(database).healthy, health(database).message) == (True, "answers")


@pytest.mark.parametrize("mlflow_url", ["server"], indirect=True)
def test_a_server_answers_as_its_database_does(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    """A trial's run, the sweep's run, the experiment and a logged model are deleted, and the trial is restored."""
    story, projector = stories(), controllers()
    story.report(10)
    story.end(0)
    drain(projector)
    own, one, two = (story.run(subject) for subject in (story.id, *story.trials))
    client.delete_run(two.info.run_id)
    client.delete_run(own.info.run_id)
    story.report(20, 1)
    drain(projector)
    client.delete_experiment(own.info.experiment_id)
    story.end(1)
    drain(projector)
    assert not story.waits
    assert [story.run(s).info.lifecycle_stage for s in (story.id, *story.trials)] == ["active", "active", "deleted"]
    assert (story.run(story.id).info.status, story.run(story.trials[0]).info.status) == ("FINISHED", "FINISHED")
    assert health(database).healthy
    client.delete_logged_model(one.data.tags["spectral.model_id"])
    client.restore_run(two.info.run_id)
    drain(projector)
    assert (story.steps(story.trials[1]), story.run(story.trials[1]).info.status) == ([10, 20], "FINISHED")
    assert [version.run_id for version in story.versions()] == [two.info.run_id]
    assert health(database).message == "answers"


def test_what_one_controller_saw_deleted_the_next_one_sees_restored(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story = stories()
    story.report(10)
    drain(controllers())
    run_id = story.run(story.trials[0]).info.run_id
    client.delete_run(run_id)
    story.report(20)
    drain(controllers())
    client.restore_run(run_id)
    story.report(30)
    story.end()
    drain(controllers())
    assert story.is_whole(10, 20, 30)


def test_a_purged_trial_is_not_made_again(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    run_id = story.run(story.trials[0]).info.run_id
    client.delete_run(run_id)
    drain(projector)
    purge(client, run_id)
    story.report(20)
    story.end()
    drain(projector)
    assert not story.waits
    assert story.runs(story.trials[0]) == []
    assert story.run(story.id).info.status == "FINISHED"
    assert [version.run_id for version in story.versions()] == [story.run(story.trials[1]).info.run_id]
    assert health(database).healthy


@pytest.mark.parametrize("lost", ["a trial", "the sweep", "all"])
def test_runs_that_are_gone_without_having_been_deleted_are_written_again(
    lost: str, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    """As after MLflow's database was put back from a backup."""
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    subjects = {"a trial": story.trials[:1], "the sweep": [story.id], "all": [story.id, *story.trials]}[lost]
    purge(client, *(story.run(subject).info.run_id for subject in subjects))
    story.report(20)
    story.end()
    drain(projector)
    assert story.is_whole(10, 20)


@pytest.mark.parametrize("then", ["", "purged"])
def test_the_sweeps_own_run_comes_back_for_its_trials(
    then: str, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    run_id = story.run(story.id).info.run_id
    client.delete_run(run_id)
    if then == "purged":
        projector.drain()
        purge(client, run_id)
    story.report(20)
    drain(projector)
    assert story.run(story.id).info.lifecycle_stage == "active"
    story.end()
    drain(projector)
    assert story.is_whole(10, 20)
    assert ("spectral.restored" in story.run(story.id).data.tags) == (then == "")


def test_the_sweeps_own_run_deleted_at_the_last_moment_comes_back(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    projector._deletions.check_runs = lambda: None  # type: ignore[union-attr,method-assign]  # it has just looked
    client.delete_run(story.run(story.id).info.run_id)
    story.end()
    drain(projector)
    assert story.is_whole(10)


def test_a_sweep_deleted_with_all_its_runs_stays_deleted_until_it_is_restored(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    deleted = [story.run(subject).info.run_id for subject in (story.id, *story.trials)]
    for run_id in deleted:
        client.delete_run(run_id)
    drain(projector)
    story.report(20)
    story.end()
    drain(projector)
    assert not story.waits
    assert {story.run(subject).info.lifecycle_stage for subject in (story.id, *story.trials)} == {"deleted"}
    assert health(database).healthy
    assert "all of its runs were deleted" in health(database).message
    for run_id in deleted:
        client.restore_run(run_id)
    drain(projector)
    assert story.is_whole(10, 20)


def test_runs_deleted_after_the_end_stay_deleted_and_lack_nothing(
    database: Database, stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    story.end()
    drain(projector)
    assert story.is_whole(10)
    for subject in (story.id, story.trials[0]):
        client.delete_run(story.run(subject).info.run_id)
    drain(projector)
    assert health(database).message == "answers"
    client.restore_run(story.run(story.trials[0]).info.run_id)  # the trial alone: the sweep is not wanted
    drain(projector)
    assert not story.waits
    assert story.run(story.id).info.lifecycle_stage == "deleted"
    assert story.run(story.trials[0]).info.lifecycle_stage == "active"


def test_runs_edited_by_hand_are_written_on(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient, database: Database
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    one, two = (story.run(trial).info.run_id for trial in story.trials)
    client.update_run(one, name="my favourite")
    client.set_terminated(one, "KILLED")
    client.log_param(two, "note", "to be looked at")
    client.log_metric(two, "mine", 1.0)
    client.delete_tag(two, "spectral.kind")
    client.set_tag(two, "mlflow.note.content", "words")
    story.report(20)
    story.end()
    drain(projector)
    assert story.is_whole(10, 20)
    assert story.run(story.trials[0]).info.run_name == "my favourite"
    assert story.run(story.trials[1]).data.tags["mlflow.note.content"] == "words"


def test_a_run_found_by_its_tags_keeps_the_parameters_that_it_has(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient, database: Database
) -> None:
    """As after a controller died between creating a run and storing its id, and somebody set a parameter since."""
    story, projector = stories(), controllers()
    run_id = _left_behind(client, story, 0)
    story.report(10)
    story.end()
    drain(projector)
    assert story.is_whole(10)
    found = story.run(story.trials[0])
    assert (found.info.run_id, found.data.params["training.seed"]) == (run_id, "by hand")
    assert found.data.params["model.margin"] == "0.01"


def test_a_run_found_by_its_tags_in_the_trash_stays_there(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient
) -> None:
    story, projector = stories(), controllers()
    client.delete_run(_left_behind(client, story, 0))
    story.report(10)
    story.end()
    drain(projector)
    assert not story.waits
    assert story.run(story.trials[0]).info.lifecycle_stage == "deleted"
    assert story.run(story.id).info.status == "FINISHED"


def _left_behind(client: MlflowClient, story: SweepStory, number: int) -> str:
    """Return a run of a trial that the database does not know."""
    experiment = client.create_experiment("spectral/adding")
    tags = {"spectral.sweep_id": story.id, "spectral.trial_id": story.trials[number]}
    run_id = client.create_run(experiment, tags=tags).info.run_id
    client.log_param(run_id, "training.seed", "by hand")
    return str(run_id)


def test_of_many_runs_each_is_looked_at_in_turn(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.tracking.deletions.LOOKED_AT", 2)
    told, projector = [stories(), stories(), stories()], controllers()
    for story in told:
        story.report(10)
        story.end()
    drain(projector)
    trials = [trial for story in told for trial in story.trials]
    for story in told:
        for trial in story.trials:
            client.delete_run(story.run(trial).info.run_id)
    for _ in range(4):
        drain(projector, 2)
    rows = {trial: told[0].row(trial) for trial in trials}
    assert all(row is not None and row.deleted for row in rows.values())
    for row in rows.values():
        client.restore_run(row.run_id)  # type: ignore[union-attr]
    for _ in range(4):
        drain(projector, 2)
    assert all(story.is_whole(10) for story in told)


CALLS: dict[str, Callable[[Runs, str], object]] = {
    "log metrics": lambda runs, run_id: runs.log(run_id, [(1, 1.0, {"loss": 1.0})]),
    "set tags": lambda runs, run_id: runs.log(run_id, [], {"key": "value"}),
    "set parameters": lambda runs, run_id: runs._set_params(run_id, {"key": "value"}),
    "complete": lambda runs, run_id: runs.complete(run_id, RunFields("name", {"key": "value"}, {"key": "value"})),
    "end": lambda runs, run_id: runs.end(run_id, "succeeded", 1.0),
    "get": lambda runs, run_id: runs.get(run_id),
    "log a model's output": lambda runs, run_id: runs.on(run_id, lambda: runs.client.log_outputs(run_id, [])),
    "log one metric": lambda runs, run_id: runs.on(run_id, lambda: runs.client.log_metric(run_id, "a", 1.0)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_says_what_has_happened_to_the_run(
    call: Callable[[Runs, str], object], client: MlflowClient, mlflow_url: str
) -> None:
    runs = Runs(mlflow_url)
    experiment = runs.experiments.named("one").experiment_id
    run_id = runs.create(experiment, 1.0, RunFields("name", {}, {}))
    call(runs, run_id)
    client.delete_run(run_id)
    with pytest.raises(RunDeleted):
        call(runs, run_id)
    client.delete_experiment(experiment)
    with pytest.raises(ExperimentDeleted):
        call(runs, run_id)
    with pytest.raises(ExperimentDeleted):
        runs.create(experiment, 1.0, RunFields("name", {}, {}))
    purge(client, run_id)
    with pytest.raises(RunGone):
        call(runs, run_id)
