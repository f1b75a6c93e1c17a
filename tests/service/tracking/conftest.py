"""A run in an MLflow whose database and artifacts are in a folder of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = mlflow.create_experiment("models", artifact_location=str(tmp_path / "artifacts"))
    yield mlflow.MlflowClient().create_run(experiment)
    mlflow.set_tracking_uri(before)
