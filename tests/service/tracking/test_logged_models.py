"""Models in MLflow, logged and loaded: what they take and give is what their task has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities import LoggedModelStatus, Run

from service.tracking.logged_models import log_model, signature
from workers.checkpoints import CheckpointFolder
from workers.models import load
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep
from workers.spec.trial import TrialSpec
from workers.training.training_state import TrainingState

COPY = {"name": "copy", "length": 4}
LANGUAGE = {"name": "ptb_char", "length": 5}


def trial(task: dict[str, Any], **model: Any) -> TrialSpec:
    model = {"hidden_size": 4} | model
    return plan_trial(
        parse_sweep({"task": task, "model": model, "space": {"training.seed": [0]}}), 0, {"training.seed": 0}
    ).require_spec()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("models", artifact_location=str(tmp_path / "artifacts"))
    yield mlflow.MlflowClient().create_run(experiment)
    mlflow.set_tracking_uri(before)


@pytest.mark.parametrize(
    ("spec", "inputs", "outputs"),
    [
        (trial({"name": "adding"}), (-1, -1, 2), (-1, 1)),
        (trial({"name": "digits"}, kind="mlp"), (-1, 64, 1), (-1, 10)),
        (trial(COPY), (-1, -1, 10), (-1, -1, 9)),
        (trial(LANGUAGE, kind="spectral_lstm"), (-1, -1), (-1, -1, 50)),
    ],
)
def test_the_signature_is_that_of_the_task(spec: TrialSpec, inputs: Any, outputs: Any) -> None:
    found = signature(spec)
    assert found.inputs.inputs[0].shape == inputs
    assert found.outputs.inputs[0].shape == outputs
    assert found.inputs.inputs[0].type == (np.float32 if spec.task.tokens is None else np.int64)


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_tokens_predicts_as_its_network_does(tmp_path: Path, run: Run) -> None:
    spec = trial(LANGUAGE)
    checkpoint = TrainingState.start(spec).save(CheckpointFolder(tmp_path / "trial", spec))
    model_id = log_model(mlflow.MlflowClient(), run, spec, checkpoint, {"model.hidden_size": 4})
    logged = mlflow.MlflowClient().get_logged_model(model_id)
    assert (logged.status, logged.source_run_id) == (LoggedModelStatus.READY, run.info.run_id)
    assert logged.params == {"model.hidden_size": "4"}
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")
    assert (model.metadata.run_id, model.metadata.model_id) == (run.info.run_id, model_id)
    ids = np.random.default_rng(0).integers(0, 50, (3, 7))
    with torch.inference_mode():
        expected = load(checkpoint)(torch.from_numpy(ids)).numpy()
    assert expected.shape == (3, 7, 50)
    np.testing.assert_array_equal(model.predict(ids), expected)
