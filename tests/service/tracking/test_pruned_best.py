"""A sweep whose best trial was pruned: MLflow's best is the service's best, with its model in the registry."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest
from mlflow import MlflowClient

from service.states import TrialState
from service.store import outbox
from service.store.database import Database
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


def ended(stories: Stories, state: TrialState) -> SweepStory:
    """Return a sweep whose second trial is the better one, and has ended in a state after the first succeeded."""
    story = stories()
    story.report(10)
    story.end(0)
    story.end(1, state=state)
    return story


def test_the_model_of_a_pruned_best_trial_is_registered_once(
    controllers: Lead, stories: Stories, client: MlflowClient, database: Database
) -> None:
    story = ended(stories, "pruned")
    drain(controllers())
    own, best = story.run(story.id), story.run(story.trials[1])
    assert own.data.tags["spectral.best_trial"] == story.trials[1]
    assert own.data.metrics["best/val/loss"] == pytest.approx(1 / 11)
    assert story.has_model(best)
    assert [version.run_id for version in story.versions()] == [best.info.run_id]
    assert story.lacks(story.id) is None
    # what is written again makes nothing twice
    with database.write() as session:
        outbox.refill_one(session, story.id)
    drain(controllers())
    assert [version.run_id for version in story.versions()] == [best.info.run_id]
    assert len(client.search_logged_models([own.info.experiment_id])) == 2


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_a_better_trial_that_failed_or_was_cancelled_is_not_the_best(
    controllers: Lead, stories: Stories, state: TrialState
) -> None:
    story = ended(stories, state)
    drain(controllers())
    assert story.run(story.id).data.tags["spectral.best_trial"] == story.trials[0]
    assert not story.has_model(story.run(story.trials[1]))
    assert [version.run_id for version in story.versions()] == [story.run(story.trials[0]).info.run_id]


def test_a_pruned_best_trial_without_its_checkpoint_is_said_to_lack_its_model(
    controllers: Lead, stories: Stories
) -> None:
    story = ended(stories, "pruned")
    shutil.rmtree(story.checkpoint(1, 10))
    drain(controllers())
    assert story.run(story.id).data.tags["spectral.best_trial"] == story.trials[1]
    assert story.versions() == []
    assert "its best model is not in the model registry: trial 1 was pruned; there is no" in str(story.lacks(story.id))
