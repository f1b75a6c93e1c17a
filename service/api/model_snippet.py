"""The programs that the API shows for loading a trial's model: with MLflow, and as a module of torch."""

from __future__ import annotations

from typing import Any

from workers.spec.trial import TrialSpec

_WITH_MLFLOW = """import mlflow
import numpy as np

mlflow.set_tracking_uri("{server}")
model = mlflow.pyfunc.load_model("{uri}")
sequences = np.zeros({shape}, np.{dtype})  # {axes}
print(model.predict(sequences))

# If sequences differ in length, fill up the shorter ones at their ends, and give the steps of each.
print(model.predict(sequences, params={{"lengths": [{part}]}}))
"""

_WITH_TORCH = """import mlflow
import torch
from workers.models import load  # pip install 'spectral-rnn-service[train]', or a clone of the project

mlflow.set_tracking_uri("{server}")
folder = mlflow.artifacts.download_artifacts("runs:/{run_id}/checkpoints/best")
network = load(folder)  # a torch.nn.Module on the CPU, in eval mode; on the service's machine, load its checkpoint
sequences = torch.zeros({shape}, dtype=torch.{dtype})  # {axes}
with torch.inference_mode():
    print(network(sequences))
    # If sequences differ in length, fill up the shorter ones at their ends, and give the steps of each.
    print(network(sequences, torch.tensor([{part}])))
"""


def with_mlflow(server: str, uri: str, spec: TrialSpec) -> str:
    """Return a program that loads a trial's model and runs it on one sequence of the shape that its task has.

    Args:
        server: The address of the MLflow server, as a browser reaches it.
        uri: The model's URI.
        spec: What the trial trained.
    """
    return _WITH_MLFLOW.format(server=server, uri=uri, **_example(spec))


def with_torch(server: str, run_id: str, spec: TrialSpec) -> str:
    """Return a program that loads a trial's best checkpoint with torch, and runs it as ``with_mlflow`` does.

    Args:
        server: The address of the MLflow server, as a browser reaches it.
        run_id: The trial's run.
        spec: What the trial trained.
    """
    return _WITH_TORCH.format(server=server, run_id=run_id, **_example(spec))


def _example(spec: TrialSpec) -> dict[str, Any]:
    task = spec.task
    steps, features = task.sequence_length, task.input_size
    shape, axes, dtype = f"(1, {steps})", "sequences, time steps; each value is a token's number", "int64"
    if task.tokens is None:
        shape, axes = f"(1, {steps}, {features})", "sequences, time steps, features"
        dtype = spec.training.parameter_dtype
    return {"shape": shape, "axes": axes, "dtype": dtype, "part": max(1, steps // 2)}
