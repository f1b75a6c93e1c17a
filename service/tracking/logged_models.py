"""Trained models in MLflow: logged from code and safetensors, the best one registered."""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model, ModelSignature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.types import Schema, TensorSpec

from workers.spec.trial import TrialSpec

CODE = Path(__file__).with_name("pyfunc_model.py")
FILES = ("manifest.json", "model.safetensors")
PACKAGES = ("workers", "spectral")
REQUIREMENTS = ("torch", "numpy", "safetensors", "pydantic", "scikit-learn", "pooch")
SOURCES = (".py", ".cpp")
CODE_ARCHIVE = "packages.zip"
NAME = "model"


_saving = threading.Lock()
"""MLflow runs the model's code to save it, and that sets a global of its own."""


def log_model(
    client: mlflow.MlflowClient, run: Run, spec: TrialSpec, checkpoint: Path, params: Mapping[str, Any]
) -> str:
    """Log the model of a checkpoint folder to a run as ``runs:/ID/model``; gives the model's own id.

    The packages it needs travel with it, so it loads where only its requirements are installed; in one archive, since
    MLflow takes every file in a call of its own. ``mlflow.pyfunc.log_model`` would do the same with some fifty calls
    more: it asks for the history of each of the run's metrics, and starts and ends the run once more.
    """
    logged = client.create_logged_model(
        run.info.experiment_id, NAME, run.info.run_id, params={key: str(value) for key, value in params.items()}
    )
    client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    about = Model(
        artifact_path=logged.artifact_location, model_uuid=logged.model_id, run_id=run.info.run_id,
        model_id=logged.model_id,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        with _saving:
            _save(folder, about, spec, checkpoint)
        repository = get_artifact_repository(logged.artifact_location, client.tracking_uri)
        repository.log_artifacts(str(folder))  # type: ignore[no-untyped-call]
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return str(logged.model_id)


def prepare() -> None:
    """Save a model of nothing, so that the half second MLflow takes for its first one is over before trials end."""
    with tempfile.TemporaryDirectory() as temporary, _saving:
        mlflow.pyfunc.save_model(
            path=f"{temporary}/model",
            python_model=str(CODE),
            signature=ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1,))])),
            pip_requirements=_requirements(),
        )


def _save(folder: Path, about: Model, spec: TrialSpec, checkpoint: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        weights, code = Path(temporary, "checkpoint"), Path(temporary, CODE_ARCHIVE)
        weights.mkdir()
        for name in FILES:  # the optimiser's state stays behind
            shutil.copy2(checkpoint / name, weights)
        code.write_bytes(_packages())
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(CODE),
            artifacts={"checkpoint": str(weights), "code": str(code)},
            signature=signature(spec),
            pip_requirements=_requirements(),
            mlflow_model=about,
        )


def signature(spec: TrialSpec) -> ModelSignature:
    """Any number of sequences in the dtype of the trial's parameters, or of token ids; of any length, but for a net
    that reads a whole sequence at once.
    """
    task, dtype = spec.task, np.dtype(spec.training.parameter_dtype)
    steps = -1 if spec.model.recurrent else task.sequence_length
    tokens = TensorSpec(np.dtype(np.int64), (-1, steps))
    inputs = TensorSpec(dtype, (-1, steps, task.input_size)) if task.tokens is None else tokens
    shape = (-1, steps, task.output_size) if task.readout == "every" else (-1, task.output_size)
    return ModelSignature(Schema([inputs]), Schema([TensorSpec(dtype, shape)]))


def register(run_id: str, model_id: str, name: str, sweep_id: str) -> None:
    """A version of the registered model ``name`` for a run; nothing where it has one."""
    client = mlflow.MlflowClient()
    name = registry_name(name)
    try:
        client.create_registered_model(name)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    if any(found.run_id == run_id for found in client.search_model_versions(f"name = '{name}'")):
        return
    client.create_model_version(
        name, f"models:/{model_id}", run_id, tags={"spectral.sweep_id": sweep_id}, model_id=model_id,
        await_creation_for=0,
    )  # fmt: skip


def registry_name(name: str) -> str:
    """A sweep's name as the registry and its search take it."""
    return re.sub(r"[/:'\"`\\]", "-", name).strip() or "sweep"


@cache
def _requirements() -> list[str]:
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


@cache
def _packages() -> bytes:
    """The packages' sources as a zip archive, found without importing them: that would load torch."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in PACKAGES:
            spec = importlib.util.find_spec(name)
            if spec is None or spec.origin is None:
                raise ModuleNotFoundError(f"package {name} is not installed beside the controller")
            root = Path(spec.origin).parent
            for path in sorted(root.rglob("*")):
                if path.suffix in SOURCES:
                    archive.write(path, str(Path(name) / path.relative_to(root)))
    return content.getvalue()
