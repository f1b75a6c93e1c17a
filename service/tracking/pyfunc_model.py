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
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class SpectralModel(PythonModel):
    """A trained network as an MLflow model.

    ``predict`` takes sequences of shape (N, T, input_size), or token ids of shape (N, T). It returns logits or
    predicted values of shape (N, output_size), or (N, T, output_size) if the task has a target at every step.
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
                reads tokens.
            params: Not used.
        """
        import torch

        dtype = torch.int64 if self.network.embedding is not None else next(self.network.parameters()).dtype
        with torch.inference_mode():
            return self.network(torch.from_numpy(np.ascontiguousarray(model_input)).to(dtype)).numpy()


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
