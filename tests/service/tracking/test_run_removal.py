"""The MLflow runs of deleted sweeps, and of sweeps that are run again after their end."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
from mlflow import MlflowClient, MlflowException
from sqlalchemy import update

from service.controller import sweep_lifecycle
from service.store import removals, reopening, trials
from service.store.database import Database
from service.store.tables import RemovedSweep, Sweep, Trial
from service.tracking import run_removal
from service.tracking.projector import Projector
from tests.service.tracking.sweep_story import Stories, SweepStory, drain, health

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own database and client
Controllers = Callable[..., Projector]


def delete(database: Database, story: SweepStory) -> None:
    with database.write() as session:
        removals.begin(session, story.id)


def stages(story: SweepStory) -> list[str]:
    return [story.run(subject).info.lifecycle_stage for subject in (story.id, *story.trials)]


def artifacts_of(client: MlflowClient, story: SweepStory) -> list[list[str]]:
    runs = [story.run(subject) for subject in (story.id, *story.trials)]
    return [[file.path for file in client.list_artifacts(run.info.run_id)] for run in runs]


def removed(database: Database, story: SweepStory) -> RemovedSweep:
    with database.read() as session:
        return session.get_one(RemovedSweep, story.id)


@pytest.mark.parametrize("mlflow_url", ["database", "server"], indirect=True)
def test_the_runs_of_a_deleted_sweep_go_and_what_the_registry_needs_stays(
    database: Database, stories: Stories, controllers: Controllers, client: MlflowClient
) -> None:
    gone, kept, projector = stories(), stories(), controllers()
    for story in (gone, kept):
        story.report(10)
        story.end()
    drain(projector)
    assert gone.is_whole(10)
    (version,) = gone.versions()
    one, best = (gone.run(trial) for trial in gone.trials)
    delete(database, gone)
    drain(projector)
    assert stages(gone) == ["deleted", "deleted", "active"]
    assert artifacts_of(client, gone)[:2] == [[], []]
    assert artifacts_of(client, gone)[2] == ["checkpoints"]
    assert gone.run(gone.trials[1]).data.tags["spectral.kept_for"] == "a version in the model registry"
    assert client.get_model_version(version.name, version.version).run_id == best.info.run_id
    assert gone.has_model(best)
    with pytest.raises(MlflowException):
        client.get_logged_model(one.data.tags["spectral.model_id"])
    assert kept.is_whole(10)
    assert removed(database, gone).runs_at is not None
    assert (health(database).healthy, health(database).message) == (True, "answers")


def test_a_removal_goes_on_after_any_failure_of_mlflow(
    database: Database,
    stories: Stories,
    controllers: Controllers,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each call of MLflow that changes something fails in turn, before or after it was carried out."""
    monkeypatch.setattr("service.tracking.projector.REMOVAL_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(run_removal, "AT_ONCE", 2)
    story = stories()
    story.report(10)
    story.end()
    drain(controllers())
    for version in story.versions():
        client.delete_model_version(version.name, version.version)
    delete(database, story)
    fails_at = 0
    while removed(database, story).runs_at is None:
        fails_at += 1
        assert fails_at < 30
        projector, left = controllers(), itertools.count(fails_at, -1)
        with monkeypatch.context() as lossy:
            for name in ("delete_run", "delete_logged_model"):
                lossy.setattr(MlflowClient, name, failing(getattr(MlflowClient, name), left))
            projector.drain()
    assert fails_at > 2
    assert stages(story) == ["deleted"] * 3
    assert artifacts_of(client, story) == [[], [], []]


def failing(call: Callable[..., None], left: Iterator[int]) -> Callable[..., None]:
    """Return a method that fails before or after it does what ``call`` does, when ``left`` is at zero."""

    def method(self: MlflowClient, subject: str) -> None:
        if next(left) == 0:
            raise MlflowException("not sent")
        call(self, subject)
        if next(left) == 0:
            raise MlflowException("reply lost")

    return method


def test_a_run_that_was_created_for_nobody_is_found_by_its_tag(
    database: Database, stories: Stories, controllers: Controllers, client: MlflowClient
) -> None:
    """The reply to its creation was lost, or came after the deletion."""
    story, projector = stories(), controllers()
    story.report(10)
    drain(projector)
    experiment = story.run(story.id).info.experiment_id
    with database.write() as session:
        session.execute(update(Trial).values(state="cancelled"))
        session.execute(update(Sweep).values(state="cancelled"))
    delete(database, story)
    drain(projector)
    assert stages(story) == ["deleted"] * 3
    late = client.create_run(experiment, tags={"spectral.sweep_id": story.id, "spectral.trial_id": "late"})
    with database.write() as session:
        session.execute(update(RemovedSweep).values(at=0.0, runs_at=1.0))  # it is time for the last look
    drain(projector)
    assert client.get_run(late.info.run_id).info.lifecycle_stage == "deleted"
    row = removed(database, story)
    assert not removals.is_due(row, row.runs_at)


def test_an_mlflow_that_was_wiped_has_nothing_to_remove(
    database: Database, stories: Stories, controllers: Controllers
) -> None:
    story = stories()
    with database.write() as session:
        session.execute(update(Sweep).values(state="cancelled"))
    delete(database, story)
    drain(controllers())
    assert removed(database, story).runs_at is not None


def test_entries_of_a_sweep_that_is_deleted_while_they_are_written_are_no_error(
    database: Database, stories: Stories, controllers: Controllers, monkeypatch: pytest.MonkeyPatch
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    waiting = Projector._waiting

    def delete_meanwhile(self: Projector, limit: int) -> object:
        found = waiting(self, limit)
        if limit > 1 and found:
            with database.write() as session:
                session.execute(update(Sweep).values(state="cancelled"))
            delete(database, story)
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(Projector, "_waiting", delete_meanwhile)
        projector.drain()
    drain(projector)
    assert (health(database).healthy, health(database).message) == (True, "answers")
    assert not story.waits


def test_a_trial_that_is_run_again_is_shown_as_running_and_ends_as_it_then_ends(
    database: Database, stories: Stories, controllers: Controllers
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    one, two = story.trials
    with database.write() as session:
        trials.move(session, trials.get(session, one), "failed", "lost")
        trials.move(session, trials.get(session, two), "succeeded")
        sweep_lifecycle.settle(session, story.id)
    drain(projector)
    statuses = [story.run(subject).info.status for subject in (story.id, one, two)]
    assert statuses == ["FINISHED", "FAILED", "FINISHED"]
    with database.write() as session:
        reopening.rerun(session, story.id)
    drain(projector)
    statuses = [story.run(subject).info.status for subject in (story.id, one, two)]
    assert statuses == ["RUNNING", "RUNNING", "FINISHED"]
    with database.write() as session:
        trials.move(session, trials.get(session, one), "running")
    story.report(20, 0)
    story.end(0)
    drain(projector)
    assert [story.run(subject).info.status for subject in (story.id, one, two)] == ["FINISHED"] * 3
    assert (story.steps(one), story.steps(two)) == ([10, 20], [10])
    assert story.run(one).data.tags["spectral.state"] == "succeeded"
    assert story.has_model(story.run(one))


@pytest.mark.parametrize("told_before", [False, True])
def test_the_newest_end_counts_whenever_mlflow_is_told(
    database: Database, stories: Stories, controllers: Controllers, told_before: bool
) -> None:
    """The first end is still in the outbox when the trial is run again, or was written before."""
    story, projector = stories(), controllers()
    story.report(10)
    one, two = story.trials
    with database.write() as session:
        trials.move(session, trials.get(session, one), "failed", "lost")
        trials.move(session, trials.get(session, two), "succeeded")
        sweep_lifecycle.settle(session, story.id)
    if told_before:
        drain(projector)
    with database.write() as session:
        reopening.rerun_trial(session, one)
        trials.move(session, trials.get(session, one), "running")
    story.end(0)
    drain(projector)
    assert [story.run(subject).info.status for subject in (story.id, one, two)] == ["FINISHED"] * 3
    assert story.run(one).data.tags["spectral.state"] == "succeeded"
