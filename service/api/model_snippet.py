"""The program that the API shows for loading a trial's model."""

from __future__ import annotations

from workers.spec.trial import TrialSpec

_PROGRAM = """import mlflow
import numpy as np

mlflow.set_tracking_uri("{server}")
model = mlflow.pyfunc.load_model("{uri}")
sequences = np.zeros({shape}, np.{dtype})  # {axes}
print(model.predict(sequences))

# If sequences differ in length, fill up the shorter ones at their ends, and give the steps of each.
print(model.predict(sequences, params={{"lengths": [{part}]}}))
"""


def model_snippet(server: str, uri: str, spec: TrialSpec) -> str:
    """Return a program that loads a trial's model and runs it on one sequence of the shape that its task has.

    Args:
        server: The address of the MLflow server, as a browser reaches it.
        uri: The model's URI.
        spec: What the trial trained.
    """
    task = spec.task
    steps, features = task.sequence_length, task.input_size
    shape, axes, dtype = f"(1, {steps})", "sequences, time steps; each value is a token's number", "int64"
    if task.tokens is None:
        shape, axes = f"(1, {steps}, {features})", "sequences, time steps, features"
        dtype = spec.training.parameter_dtype
    return _PROGRAM.format(server=server, uri=uri, shape=shape, axes=axes, dtype=dtype, part=max(1, steps // 2))
