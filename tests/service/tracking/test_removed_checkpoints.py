"""Checkpoints that are removed or altered by hand before MLflow has their models: the rest is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from service.store.database import Database
from service.tracking.projector import Projector
from tests.service.tracking.sweep_story import Stories, drain, health

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own database and client


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("change", "path", "reason"),
    [
        (remove, "", "manifest.json: it was removed"),
        (remove, "model.safetensors", "model.safetensors: it was removed"),
        (remove, "manifest.json", "manifest.json: it was removed"),
        (alter, "model.safetensors", "model.safetensors was altered"),
        (alter, "manifest.json", "manifest.json was altered"),
        (lambda path: path.write_text("{}"), "manifest.json", "manifest.json has format version None"),
        (
            lambda path: path.write_bytes(b"\xff"),
            "manifest.json",
            "manifest.json is not JSON: it is torn or was altered",
        ),
    ],
)
def test_a_trial_without_its_best_checkpoint_has_no_model_and_says_why(
    change: Callable[[Path], object],
    path: str,
    reason: str,
    database: Database,
    stories: Stories,
    controllers: Callable[[], Projector],
    client: MlflowClient,
) -> None:
    story, projector = stories(), controllers()
    story.report(10)
    change(story.checkpoint(1, 10) / path)
    story.end()
    drain(projector)
    assert not story.waits
    one, two = (story.run(trial) for trial in story.trials)
    assert {run.info.status for run in (one, two, story.run(story.id))} == {"FINISHED"}
    assert story.has_model(one)
    assert "spectral.model_id" not in two.data.tags
    assert client.list_artifacts(two.info.run_id, "checkpoints") == []
    assert story.steps(story.trials[1]) == [10]
    lacks = story.lacks(story.trials[1])
    assert lacks is not None
    assert lacks.startswith("its model was not logged: ")
    assert reason in lacks
    assert health(database).healthy
    assert lacks in health(database).message


def test_a_checkpoint_that_is_not_the_best_may_be_missing(
    stories: Stories, controllers: Callable[[], Projector], client: MlflowClient, database: Database
) -> None:
    story, projector = stories(), controllers()
    for step in (10, 20, 30):
        story.report(step)
    for number in (0, 1):
        shutil.rmtree(story.checkpoint(number, 10))
    story.end()
    drain(projector)
    assert story.is_whole(10, 20, 30)
    assert health(database).message == "answers"
