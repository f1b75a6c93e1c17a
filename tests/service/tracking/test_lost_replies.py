"""Calls to MLflow that are carried out although their reply is lost: nothing is made twice, and nothing is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from mlflow import MlflowClient
from mlflow.entities import LoggedModelStatus

from service.store.database import Database
from service.tracking.projector import Projector
from tests.faults.reply_proxy import ReplyProxy, Rule
from tests.service.tracking.sweep_story import Stories, SweepStory, drain, health

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own database and client

LOST = (
    r"experiments/create$",
    r"runs/create$",
    r"runs/log-batch$",
    r"runs/log-inputs$",
    r"runs/update$",
    r"/artifacts/.*checkpoints",
    r"/logged-models$",
    r"outputs$",
    r"/artifacts/.*models/",
    r"/logged-models/m-[0-9a-f]+$",
    r"registered-models/create$",
    r"model-versions/create$",
    r"registered-models/alias$",
)
"""The calls that write, as regular expressions of their paths; the first of them makes the experiment."""


@pytest.mark.parametrize("mlflow_url", ["server"], indirect=True)
def test_a_lost_reply_makes_nothing_twice(
    database: Database,
    stories: Stories,
    controllers: Callable[..., Projector],
    client: MlflowClient,
    mlflow_url: str,
) -> None:
    with ReplyProxy(mlflow_url) as proxy:
        projector, story = controllers(proxy.url), stories()
        rules = [proxy.add(Rule("", path, "drop reply")) for path in LOST]
        story.report(10)
        drain(projector)
        story.report(20)
        story.end()
        for _ in range(len(LOST) + 1):
            drain(projector, times=1)
        assert {rule.path: rule.taken for rule in rules} == dict.fromkeys(LOST, 1)
        assert {passed.status for passed in proxy.passed() if passed.act == "drop reply"} == {200}
    assert story.is_whole(10, 20)
    for trial in story.trials:
        run = story.run(trial)
        (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
        assert (model.model_id, model.status) == (run.data.tags["spectral.model_id"], LoggedModelStatus.READY)
    assert len(story.versions()) == len(client.search_registered_models()) == 1
    assert [e.name for e in client.search_experiments() if e.name != "Default"] == ["spectral/adding"]
    assert health(database).healthy


@pytest.mark.parametrize("mlflow_url", ["server"], indirect=True)
def test_what_a_late_call_makes_twice_is_removed(
    stories: Stories, controllers: Callable[..., Projector], client: MlflowClient, mlflow_url: str
) -> None:
    """A call that was given up may be carried out after MLflow was searched; a network may deliver a call twice."""
    with ReplyProxy(mlflow_url) as proxy:
        projector = controllers(proxy.url)
        for path, times in ((r"runs/create$", 3), (r"/logged-models$", 2), (r"model-versions/create$", 1)):
            proxy.add(Rule("POST", path, "repeat request", times=times))
        story = stories()
        story.report(10)
        drain(projector)
        states = Counter((run.info.lifecycle_stage, run.info.status) for s in subjects(story) for run in story.runs(s))
        assert states == {("active", "RUNNING"): 6}
        story.end()
        drain(projector)
    assert not story.waits
    named: set[str | None] = set()
    for subject in subjects(story):
        states = Counter((run.info.lifecycle_stage, run.info.status) for run in story.runs(subject))
        assert states == {("active", "FINISHED"): 1, ("deleted", "KILLED"): 1}
        row, (removed,) = story.row(subject), [r for r in story.runs(subject) if r.info.lifecycle_stage == "deleted"]
        assert row is not None
        assert removed.data.tags["spectral.duplicate_of"] == row.run_id
        assert not row.deleted
        assert story.lacks(subject) is None
        named.add(
            next(r.data.tags.get("spectral.model_id") for r in story.runs(subject) if r.info.run_id == row.run_id)
        )
    models = client.search_logged_models([story.runs(story.id)[0].info.experiment_id])
    assert {model.status for model in models} == {LoggedModelStatus.READY}
    assert {model.model_id for model in models} == named - {None}
    assert len(models) == len(story.trials)
    assert len(story.versions()) == 1


def subjects(story: SweepStory) -> list[str]:
    return [story.id, *story.trials]
