"""The MLflow model of a trial, logged from this file (models from code): sequences in, outputs out. No pickle.

MLflow copies this file into the model and runs it where the model is loaded; the network comes from the checkpoint
beside it. torch is imported there only, so logging a model needs none.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class SpectralModel(PythonModel):
    """predict: (N, T, input_size) -> (N, output_size), logits or predicted values."""

    def load_context(self, context: PythonModelContext) -> None:
        from workers.models import load

        self.network = load(context.artifacts["checkpoint"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # hints would be its schema
        import torch

        dtype = next(self.network.parameters()).dtype
        inputs: npt.NDArray[Any] = np.ascontiguousarray(model_input)
        with torch.inference_mode():
            return self.network(torch.from_numpy(inputs).to(dtype)).numpy()


set_model(SpectralModel())
