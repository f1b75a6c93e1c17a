"""The MLflow model of a trial, logged from this file (models from code): sequences in, outputs out. No pickle.

MLflow copies this file into the model and runs it where the model is loaded; the network comes from the checkpoint
beside it, and so does our code where it is not installed. torch is imported there only: logging needs none.
"""

import atexit
import importlib.util
import shutil
import sys
import tempfile
import zipfile
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class SpectralModel(PythonModel):
    """predict: (N, T, input_size), or token ids (N, T) -> (N, output_size), or (N, T, output_size) where every step is
    read: logits or predicted values.
    """

    def load_context(self, context: PythonModelContext) -> None:
        if importlib.util.find_spec("workers") is None:
            folder = tempfile.mkdtemp(prefix="spectral-model-")
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            zipfile.ZipFile(context.artifacts["code"]).extractall(folder)
            sys.path.append(folder)
        from workers.models import load

        self.network = load(context.artifacts["checkpoint"])

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # MLflow reads this hint, and knows it without arguments
        params: dict[str, Any] | None = None,
    ) -> Any:
        import torch

        dtype = torch.int64 if self.network.embedding is not None else next(self.network.parameters()).dtype
        with torch.inference_mode():
            return self.network(torch.from_numpy(np.ascontiguousarray(model_input)).to(dtype)).numpy()


set_model(SpectralModel())
