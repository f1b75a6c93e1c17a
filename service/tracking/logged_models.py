"""The calls that log a trial's checkpoint to MLflow as a logged model."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowException
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Run
from mlflow.models import Model, ModelSignature
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.types import DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from service.tracking.checkpoint_check import CHECKPOINT_FILES
from service.tracking.mlflow_experiments import MISSING
from service.tracking.mlflow_runs import SWEEP_TAG, TRIAL_TAG, VALUE_LENGTH
from service.tracking.model_package import model_package
from workers.spec.trial import TrialSpec

PYFUNC_FILE = Path(__file__).with_name("pyfunc_model.py")
CODE_ARCHIVE = "code.zip"
CHECKPOINT_TAG = "spectral.checkpoint"
"""The tag of a logged model with the name of the checkpoint's folder, and with the form of the model behind it if it is
another one than ours. Models of other programs do not have it."""
STEP_TAG = "spectral.step"

Save = Callable[[Path, Model], None]
"""Saves a model to a folder that does not exist yet, with the given metadata."""

_saving = threading.Lock()
"""Held while a model is saved: MLflow then runs the model's code, and keeps the result in a global variable."""


def log_model(
    client: mlflow.MlflowClient,
    run: Run,
    spec: TrialSpec,
    checkpoint: Path,
    params: Mapping[str, Any],
    *,
    name: str,
    step: int,
) -> str:
    """Log the model in a checkpoint folder to a run.

    A model that an earlier call has made for the run is completed, if it has to be, and no other one is made: the reply
    to that call may have been lost, or the process may have ended after it.

    The code that loads the model is logged with it. It is packed into one archive, because MLflow uploads every file
    with a separate call. ``mlflow.pyfunc.log_model`` would need some fifty calls more: it asks for the history of each
    of the run's metrics, and starts and ends the run once more.

    Args:
        client: The client of the MLflow server that holds the run.
        run: The trial's run.
        spec: What the trial trained.
        checkpoint: The folder with ``manifest.json`` and ``model.safetensors``.
        params: Parameters to show beside the model in MLflow; each value is written as text.
        name: What the model is called.
        step: The step of the checkpoint.

    Returns:
        The id of the logged model.
    """

    def save(folder: Path, metadata: Model) -> None:
        _save(folder, metadata, spec, checkpoint)

    return log_saved(client, run, checkpoint.name, save, params, name=name, step=step)


def log_saved(
    client: mlflow.MlflowClient, run: Run, mark: str, save: Save, params: Mapping[str, Any], *, name: str, step: int
) -> str:
    """Log a model to a run, as ``log_model`` does, and return its id.

    Args:
        client: The client of the MLflow server that holds the run.
        run: The trial's run.
        mark: What tells the model from others of the run; the value of its ``CHECKPOINT_TAG``.
        save: Saves the model.
        params: Parameters to show beside the model in MLflow; each value is written as text.
        name: What the model is called.
        step: The step of the checkpoint.
    """
    tags = {CHECKPOINT_TAG: mark, STEP_TAG: str(step)}
    tags |= {key: run.data.tags[key] for key in (SWEEP_TAG, TRIAL_TAG) if key in run.data.tags}
    logged = _made_before(client, run, mark)
    if logged is None:
        texts = {key: str(value)[:VALUE_LENGTH] for key, value in params.items()}
        logged = client.create_logged_model(run.info.experiment_id, name, run.info.run_id, tags, texts)
    elif logged.status == LoggedModelStatus.READY and client.list_logged_model_artifacts(logged.model_id):
        return str(logged.model_id)
    try:
        _fill(client, run, save, logged, step)
    except Exception:
        # a model without files would be shown for ever, and a further attempt makes another one
        with suppress(Exception):
            client.delete_logged_model(logged.model_id)
        raise
    return str(logged.model_id)


def is_without_files(client: mlflow.MlflowClient, model_id: str) -> bool:
    """Return whether MLflow has a logged model and none of its files; false for one that was deleted in MLflow."""
    try:
        client.get_logged_model(model_id)
    except MlflowException as error:
        if error.error_code == MISSING:
            return False
        raise
    return not client.list_logged_model_artifacts(model_id)


def of_sweep(client: mlflow.MlflowClient, experiment_ids: Sequence[str], sweep_id: str) -> list[LoggedModel]:
    """Return the models that ``log_model`` made for the runs of a sweep, without those that were deleted."""
    found: list[LoggedModel] = []
    token: str | None = None
    while True:
        query = f"tags.`{SWEEP_TAG}` = '{sweep_id}'"
        page = client.search_logged_models(list(experiment_ids), query, page_token=token)
        found += [model for model in page if CHECKPOINT_TAG in model.tags]
        token = page.token
        if not token:
            return found


def _made_before(client: mlflow.MlflowClient, run: Run, mark: str) -> LoggedModel | None:
    """Return the first model that was made for a run with this mark; None if there is none that was not deleted."""
    query = f"source_run_id = '{run.info.run_id}' AND tags.`{CHECKPOINT_TAG}` = '{mark}'"
    oldest_first = [{"field_name": "creation_timestamp", "ascending": True}]
    found = client.search_logged_models([run.info.experiment_id], query, order_by=oldest_first)
    return next(iter(found), None)


def _fill(client: mlflow.MlflowClient, run: Run, save: Save, logged: LoggedModel, step: int) -> None:
    """Upload the files of a new logged model, and mark it as ready."""
    outputs = run.outputs.model_outputs if run.outputs else []
    if logged.model_id not in {output.model_id for output in outputs}:  # MLflow refuses it a second time
        client.log_outputs(run.info.run_id, [LoggedModelOutput(logged.model_id, step=step)])
    metadata = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        run_id=run.info.run_id,
        model_id=logged.model_id,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        with _saving:
            save(folder, metadata)
        repository = get_artifact_repository(logged.artifact_location, client.tracking_uri)
        repository.log_artifacts(str(folder))  # type: ignore[no-untyped-call]
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)


def prepare() -> None:
    """Save a model without weights to a temporary folder, and delete it: this warms up the first ``log_model``.

    Packing the code, and MLflow's first save in a process, take about two seconds. Doing both at the start keeps
    them out of the end of the first trial.
    """
    with tempfile.TemporaryDirectory() as temporary, _saving:
        mlflow.pyfunc.save_model(
            path=f"{temporary}/model",
            python_model=str(PYFUNC_FILE),
            signature=ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1,))])),
            pip_requirements=list(model_package().requirements),
        )


def _save(folder: Path, metadata: Model, spec: TrialSpec, checkpoint: Path) -> None:
    package = model_package()
    with tempfile.TemporaryDirectory() as temporary:
        weights, code = Path(temporary, "checkpoint"), Path(temporary, CODE_ARCHIVE)
        weights.mkdir()
        for name in CHECKPOINT_FILES:
            shutil.copy2(checkpoint / name, weights)
        code.write_bytes(package.archive)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(PYFUNC_FILE),
            artifacts={"checkpoint": str(weights), "code": str(code)},
            signature=signature(spec),
            pip_requirements=list(package.requirements),
            mlflow_model=metadata,
        )


def signature(spec: TrialSpec) -> ModelSignature:
    """Return the MLflow signature of a trial's model: the shapes and dtypes of its input and output, with -1 for any.

    The inputs are any number of sequences in the dtype of the trial's parameters, or of token ids. They may have any
    length, except for a network that reads a whole sequence at once. ``predict`` takes the parameter ``lengths``,
    the steps of each sequence, which is empty by default.
    """
    task, dtype = spec.task, np.dtype(spec.training.parameter_dtype)
    steps = -1 if spec.model.recurrent else task.sequence_length
    tokens = TensorSpec(np.dtype(np.int64), (-1, steps))
    inputs = TensorSpec(dtype, (-1, steps, task.input_size)) if task.tokens is None else tokens
    shape = (-1, steps, task.output_size) if task.readout == "every" else (-1, task.output_size)
    lengths = ParamSpec("lengths", DataType.long, default=[], shape=(-1,))
    return ModelSignature(Schema([inputs]), Schema([TensorSpec(dtype, shape)]), ParamSchema([lengths]))
