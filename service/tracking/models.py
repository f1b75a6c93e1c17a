"""Trained models in MLflow: logged from code and safetensors, the best one registered."""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import tempfile
import zipfile
from functools import cache
from importlib.metadata import version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from workers.spec import TrialSpec

CODE = Path(__file__).with_name("pyfunc_model.py")
FILES = ("manifest.json", "model.safetensors")
PACKAGES = ("workers", "spectral")
REQUIREMENTS = ("torch", "numpy", "safetensors", "pydantic", "scikit-learn", "pooch")
SOURCES = (".py", ".cpp")
CODE_ARCHIVE = "packages.zip"
NAME = "model"


def log_model(run_id: str, spec: TrialSpec, checkpoint: Path) -> str:
    """Log the model of a checkpoint folder to a run as ``runs:/ID/model``; gives the model's own id.

    The packages it needs travel with it, so it loads where only its requirements are installed; in one archive, since
    MLflow takes every file in a call of its own.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder, code = Path(temporary, "checkpoint"), Path(temporary, CODE_ARCHIVE)
        folder.mkdir()
        for name in FILES:  # the optimiser's state stays behind
            shutil.copy2(checkpoint / name, folder)
        code.write_bytes(_packages())
        with mlflow.start_run(run_id=run_id):
            logged = mlflow.pyfunc.log_model(
                name=NAME,
                python_model=str(CODE),
                artifacts={"checkpoint": str(folder), "code": str(code)},
                signature=signature(spec),
                pip_requirements=_requirements(),
            )
    return str(logged.model_id)


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
