"""The best network of a sweep without code of this project: as modules of torch, and as ONNX, in MLflow's registry."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Run
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, Schema, TensorSpec

from service.store import checkpoints, points, sweeps
from service.store.database import Database
from service.tracking import logged_models
from service.tracking.mlflow_runs import MODELS_TAG, Runs, models_of, models_text
from service.tracking.run_fields import trial_params
from workers.spec.trial import TrialSpec

log = logging.getLogger(__name__)

PYFUNC_FILE = Path(__file__).with_name("plain_pyfunc_model.py")
ROOT = Path(__file__).parents[2]
"""The folder of our packages."""
EXPORT_SECONDS = 300.0
"""How many seconds the process may take that imports torch and writes the files."""
FORMS = {"torch": "network.safetensors", "onnx": "network.onnx"}
"""The file of each form, by the name that is added to the names of its models."""
DESCRIPTIONS = {
    "torch": "Modules of torch alone compute it: no code of this project is needed.",
    "onnx": "An ONNX graph in float32; inputs are input (sequences, steps, features) and lengths.",
}
REQUIREMENTS = {"torch": ("torch", "numpy", "safetensors"), "onnx": ("onnx", "onnxruntime", "numpy")}

PlainFiles = dict[str, bytes]
"""The content of the files by form; without those that could not be made."""


def of_best(database: Database, sweep_id: str) -> PlainFiles:
    """Return the network of a sweep's best trial in each form that it has; none without a best trial.

    torch is used in a process of its own, so that the controller need not import it.
    """
    with database.read() as session:
        best = points.best_trial(session, sweeps.get(session, sweep_id))
        found = checkpoints.find(session, best.id, "best") if best else None
    if found is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        # -P: packages of the present folder may have our names
        command = [sys.executable, "-P", "-W", "ignore", "-m", "workers.models.plain", found.path, folder]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        try:
            done = subprocess.run(
                command,
                env=os.environ | {"PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=EXPORT_SECONDS,
                check=False,
            )
            problem = done.stdout.strip() if done.returncode == 0 else (done.stderr.strip().splitlines() or [""])[-1]
        except (OSError, subprocess.SubprocessError) as error:
            problem = str(error)
        if problem:
            log.info("the best network of sweep %s has not every form without our code: %s", sweep_id, problem)
        paths = {form: Path(folder, name) for form, name in FORMS.items()}
        return {form: path.read_bytes() for form, path in paths.items() if path.is_file()}


def log_plain(
    runs: Runs, run: Run, spec: TrialSpec, name: str, checkpoint: str, step: int, files: PlainFiles
) -> dict[str, str]:
    """Log the forms of a trial's network as models of its run, and return the models' ids by form.

    A form whose model the run's tags name already is not logged again.

    Args:
        runs: The service's runs in MLflow.
        run: The trial's run.
        spec: What the trial trained.
        name: What the model of the checkpoint is called.
        checkpoint: The name of the checkpoint's folder.
        step: Its step.
        files: The forms.
    """
    known = models_of(run)
    found: dict[str, str] = {}
    for form, content in files.items():
        if not all(_installed(package) for package in REQUIREMENTS[form]):
            continue
        mark = f"{checkpoint}-{form}"
        if mark not in known:
            save = partial(_save, form, content, spec)
            params = trial_params(spec) | {"step": step, "form": form}
            log_saved = partial(logged_models.log_saved, runs.client, run, mark, save, params, step=step)
            known[mark] = runs.on(run.info.run_id, partial(log_saved, name=f"{name}-{form}"))
            runs.log(run.info.run_id, [], {MODELS_TAG: models_text(known)})
        found[form] = known[mark]
    return found


def _save(form: str, content: bytes, spec: TrialSpec, folder: Path, metadata: Model) -> None:
    requirements = [f"{package}=={version(package).partition('+')[0]}" for package in REQUIREMENTS[form]]
    if form == "onnx":
        import onnx

        mlflow.onnx.save_model(
            onnx.load_from_string(content),
            str(folder),
            mlflow_model=metadata,
            signature=_signature(spec),
            pip_requirements=requirements,
        )
        return
    with tempfile.TemporaryDirectory() as temporary:
        network = Path(temporary, FORMS[form])
        network.write_bytes(content)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(PYFUNC_FILE),
            artifacts={"network": str(network)},
            signature=logged_models.signature(spec),
            pip_requirements=requirements,
            mlflow_model=metadata,
        )


def _signature(spec: TrialSpec) -> ModelSignature:
    """Return the signature of the ONNX graph, which computes in float32."""
    own = logged_models.signature(spec).inputs.inputs[0]
    dtype = own.type if spec.task.tokens is not None else np.dtype(np.float32)
    inputs: list[ColSpec | TensorSpec] = [TensorSpec(dtype, own.shape, "input")]
    if spec.task.readout == "last":
        inputs.append(TensorSpec(np.dtype(np.int64), (-1,), "lengths"))
    return ModelSignature(Schema(inputs))


def _installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
