"""The file that is logged with a network of torch's own modules and runs where it is loaded: sequences in, outputs out.

MLflow copies this file into the model ("models from code"). The model holds one artifact, a safetensors file with the
weights, whose metadata says from which modules of torch the network is made.
"""

import json
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class PlainModel(PythonModel):
    """``torch.nn.RNN``, ``LSTM`` or ``GRU`` with a linear readout, as an MLflow model.

    ``predict`` takes sequences of shape (N, T, input_size), or token ids of shape (N, T), and the parameter
    ``lengths``, the steps of each sequence; without it each has T steps. It returns the outputs of the last step of
    each sequence, shape (N, output_size), or of every step, shape (N, T, output_size).
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network and load its weights."""
        import torch
        from safetensors import safe_open
        from safetensors.torch import load_file

        path = context.artifacts["network"]
        with safe_open(path, "pt") as opened:
            self.config = json.loads(opened.metadata()["config"])
        arguments, outputs = self.config["arguments"], self.config["outputs"]
        self.dtype = getattr(torch, self.config["dtype"])
        self.network = torch.nn.ModuleDict(
            {
                "recurrent": getattr(torch.nn, self.config["recurrent"])(**arguments),
                "head": torch.nn.Linear(arguments["hidden_size"], outputs),
            }
        )
        if self.config["embedding"]:
            self.network["embedding"] = torch.nn.Embedding(*self.config["embedding"])
        self.network.to(self.dtype).load_state_dict(load_file(path))
        self.network.eval()

    def predict(
        self,
        context: PythonModelContext,
        model_input: np.ndarray,  # MLflow reads this hint, which has to be np.ndarray without arguments
        params: dict[str, Any] | None = None,
    ) -> Any:
        """Return the network's outputs as an array, one row for each sequence."""
        import torch

        inputs = torch.from_numpy(np.ascontiguousarray(model_input))
        lengths = (params or {}).get("lengths", [])
        with torch.inference_mode():
            if self.config["embedding"]:
                inputs = self.network["embedding"](inputs.to(torch.int64))
            states, _ = self.network["recurrent"](inputs.to(self.dtype))
            if self.config["readout"] == "last":
                count, steps = states.shape[:2]
                ends = torch.as_tensor(lengths) if len(lengths) else torch.full((count,), steps)
                states = states[torch.arange(count), ends.to(torch.int64) - 1]
            return self.network["head"](states).numpy()


set_model(PlainModel())
