"""The file that is logged with every model and runs where it is loaded: sequences in, outputs out.

MLflow copies this file into the model ("models from code"). The model holds two artifacts: the
checkpoint (safetensors and JSON, no pickle), and an archive with the code that loads it. torch is imported on loading
only, since logging a model does not need it.
"""

import atexit
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class SpectralModel(PythonModel):
    """A trained network as an MLflow model.

    ``predict`` takes sequences of shape (N, T, input_size), or token ids of shape (N, T). It returns logits or
    predicted values of shape (N, output_size), or (N, T, output_size) if the task has a target at every step.

    Sequences of different lengths are padded at their ends. The network does not read the padding if the parameter
    ``lengths`` gives the steps of each sequence, or if the padding consists of NaN.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network from the artifact ``checkpoint``, with the code in the artifact ``code``."""
        package = _importable(context.artifacts["code"])
        load = importlib.import_module(f"{package}.workers.models").load
        self.network = load(context.artifacts["checkpoint"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # MLflow reads this hint, which has to be np.ndarray without arguments
        params: dict[str, Any] | None = None,
    ) -> Any:
        """Return the network's outputs as an array, one row for each sequence.

        Args:
            context: Not used.
            model_input: The sequences; they are converted to the dtype of the network's parameters, or to int64 if it
                reads tokens. A sequence whose last steps are all NaN ends before them.
            params: ``lengths``, a list with the steps of each sequence, from 1 to T. Without it, or if it is empty,
                every sequence has T steps, or ends where its NaN begin.

        Returns:
            The outputs. If there is one for each step, those after the end of a sequence are NaN.

        Raises:
            MlflowException: If the lengths do not fit the sequences, or if NaN stands before the end of a sequence.
        """
        import torch

        dtype = torch.int64 if self.network.embedding is not None else next(self.network.parameters()).dtype
        lengths = _lengths(model_input, (params or {}).get("lengths", []))
        sequences, ends, padding = model_input, None, None
        if lengths is not None:
            padding = np.arange(model_input.shape[1]) >= lengths[:, None]
            sequences, ends = model_input.copy(), torch.from_numpy(lengths)
            sequences[padding] = 0
        with torch.inference_mode():
            outputs = self.network(torch.from_numpy(np.ascontiguousarray(sequences)).to(dtype), ends).numpy()
        if self.network.readout == "every" and padding is not None:
            outputs[padding] = np.nan
        return outputs


def _lengths(sequences: np.ndarray, given: Sequence[int]) -> np.ndarray | None:
    """Return the steps of each sequence, int64 of shape (N,), or None if all have T steps.

    Args:
        sequences: Shape (N, T, input_size), or (N, T).
        given: The lengths that the user gave; if it is empty, they follow from the NaN at the ends of the sequences.

    Raises:
        MlflowException: If the lengths do not fit the sequences, or if NaN stands before the end of a sequence.
    """
    count, steps = sequences.shape[:2]
    nan = np.atleast_3d(np.isnan(sequences))
    lengths = np.where(nan.all(2), 0, np.arange(1, steps + 1)).max(1, initial=0)
    if len(given):
        lengths = _checked(given, count, steps)
    elif not lengths.all():
        raise MlflowException.invalid_parameter_value(
            f"sequence {lengths.argmin()} has no step that is not NaN; give each sequence one step or more"
        )
    gaps = nan.any(2) & (np.arange(steps) < lengths[:, None])
    if gaps.any():
        number, step = np.argwhere(gaps)[0]
        raise MlflowException.invalid_parameter_value(
            f"sequence {number} has NaN at step {step}, before its end after {lengths[number]} steps; NaN may only "
            "fill whole steps after the end of a sequence, so replace missing values, for example by interpolation"
        )
    return None if (lengths == steps).all() else lengths


def _checked(given: Sequence[int], count: int, steps: int) -> np.ndarray:
    """Return lengths as int64 of shape (count,). Raises MlflowException if one of them does not lie in [1, steps]."""
    if len(given) != count:
        raise MlflowException.invalid_parameter_value(
            f"lengths has {len(given)} entries for {count} sequences; give the number of steps of each sequence"
        )
    wrong = [length for length in given if not isinstance(length, int | np.integer) or not 1 <= length <= steps]
    if wrong:
        raise MlflowException.invalid_parameter_value(
            f"lengths has the entry {wrong[0]!r}; give whole numbers from 1 to {steps}, the steps of the input"
        )
    return np.array(given, np.int64)


def _importable(archive: str) -> str:
    """Make the package in the archive importable and return its name.

    The name is unique to the package's content. It therefore may come first on the path without hiding any other
    package, and a package of that name that can be imported already is the same one.
    """
    with zipfile.ZipFile(archive) as content:
        name = content.namelist()[0].partition("/")[0]
        if importlib.util.find_spec(name) is None:
            folder = tempfile.mkdtemp(prefix="spectral-model-")
            atexit.register(_remove, folder, os.getpid())
            content.extractall(folder)
            sys.path.insert(0, folder)
            importlib.invalidate_caches()
    return name


def _remove(folder: str, owner: int) -> None:
    """Remove the folder, unless this process is a fork of the one that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


set_model(SpectralModel())
