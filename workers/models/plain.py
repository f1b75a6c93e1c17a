"""Trained networks without code of this project: torch's own modules, in one file that torch or ONNX Runtime reads.

A spectral transition W = U diag(sigma) V^T is formed once, and becomes the ``weight_hh`` of ``torch.nn.RNN``, ``LSTM``
or ``GRU``. ``python -m workers.models.plain CHECKPOINT FOLDER`` does what ``write_plain`` does, for programs that do
not import torch, and prints why a file is missing.
"""

from __future__ import annotations

import io
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN
from workers.errors import NoPlainForm
from workers.models.exponential import ExponentialLayer, ExponentialRNN
from workers.models.loading import load
from workers.models.recurrent import RecurrentModel
from workers.models.sequence_model import SequenceModel

PlainFormat = Literal["torch", "safetensors", "onnx"]
FORMATS: tuple[PlainFormat, ...] = get_args(PlainFormat)
ONNX_PACKAGES = ("onnx", "onnxscript")
PLAIN = ("tanh", "relu")
"""The nonlinearities of ``torch.nn.RNN``."""
EXAMPLE = (2, 3)
"""Sequences and steps of the input with which ONNX's graph is traced; any other sizes can be read then."""


@torch.no_grad()
def plain_model(model: SequenceModel) -> RecurrentModel:
    """Return a network with the same outputs whose recurrent part is ``torch.nn.RNN``, ``LSTM`` or ``GRU``.

    Outputs agree up to the rounding of the parameters' dtype, also for sequences of different lengths.

    Raises:
        NoPlainForm: If the network is not recurrent, or if its nonlinearity is neither tanh nor relu.
    """
    if not isinstance(model, RecurrentModel):
        raise NoPlainForm(
            "a network that reads a whole sequence at once has no form in torch.nn.RNN, LSTM or GRU; load it with "
            "workers.models.load"
        )
    recurrent = model.recurrent
    if isinstance(recurrent, SpectralRNN | ExponentialRNN) and recurrent.activation.name not in PLAIN:
        raise NoPlainForm(
            f"torch.nn.RNN has only {' and '.join(PLAIN)}, and this network uses {recurrent.activation.name}; load it "
            "with workers.models.load"
        )
    plain: nn.RNN | nn.LSTM | nn.GRU
    if isinstance(recurrent, SpectralRNN):
        plain = recurrent.to_rnn()
    elif isinstance(recurrent, SpectralLSTM):
        plain = recurrent.to_lstm()
    elif isinstance(recurrent, SpectralGRU):
        plain = recurrent.to_gru()
    elif isinstance(recurrent, ExponentialRNN):
        plain = _of_exponential(recurrent)
    else:
        plain = recurrent
    return RecurrentModel(plain, model.head, readout=model.readout, embedding=model.embedding).eval()


def plain_config(model: RecurrentModel) -> dict[str, Any]:
    """Return what is needed beside the weights to build a network that ``plain_model`` has returned.

    ``recurrent`` is the name of a class of ``torch.nn`` and ``arguments`` are its arguments; ``embedding`` is (tokens,
    size), or None if inputs are numbers; ``outputs`` is the size of the linear readout of the last state (``readout``
    "last") or of every state ("every").
    """
    recurrent = model.recurrent
    assert isinstance(recurrent, nn.RNN | nn.LSTM | nn.GRU)
    arguments = {
        "input_size": recurrent.input_size,
        "hidden_size": recurrent.hidden_size,
        "num_layers": recurrent.num_layers,
        "batch_first": True,
    }
    if isinstance(recurrent, nn.RNN):
        arguments["nonlinearity"] = recurrent.nonlinearity
    table = model.embedding
    return {
        "recurrent": type(recurrent).__name__,
        "arguments": arguments,
        "embedding": None if table is None else [table.num_embeddings, table.embedding_dim],
        "outputs": model.head.out_features,
        "readout": model.readout,
        "dtype": str(model.head.weight.dtype).removeprefix("torch."),
    }


def exported(model: SequenceModel, form: PlainFormat) -> bytes:
    """Return the content of a file with a trained network.

    Args:
        model: The network.
        form: ``torch`` for a file of ``torch.load(file, weights_only=True)``, a dict of ``config`` (``plain_config``)
            and ``weights``; ``safetensors`` for the same weights, with the config as JSON in the metadata; ``onnx`` for
            a graph in float32 with the inputs ``input`` (B, T, I), or token ids (B, T), and, if there is one output for
            each sequence, ``lengths``, int64 (B,), and with the output ``output``. B and T may be any.

    Raises:
        NoPlainForm: If the network has no such form, or if the packages of ONNX are not installed.
    """
    plain = plain_model(model)
    if form == "onnx":
        return _onnx(plain)
    weights = {name: tensor.contiguous() for name, tensor in plain.state_dict().items()}
    if form == "safetensors":
        return bytes(save_tensors(weights, {"config": json.dumps(plain_config(plain))}))
    content = io.BytesIO()
    torch.save({"config": plain_config(plain), "weights": weights}, content)
    return content.getvalue()


def _of_exponential(recurrent: ExponentialRNN) -> nn.RNN:
    layers = [layer for layer in recurrent.layers if isinstance(layer, ExponentialLayer)]
    first = layers[0].weight_ih
    plain = nn.RNN(
        first.shape[1],
        recurrent.hidden_size,
        len(layers),
        recurrent.activation.name,
        batch_first=True,
        dtype=first.dtype,
    )
    for number, layer in enumerate(layers):
        own = (layer.weight_ih, layer.weight_hh, layer.bias, torch.zeros_like(layer.bias))
        for name, value in zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), own, strict=True):
            getattr(plain, f"{name}_l{number}").copy_(value)
    return plain


class _Graph(nn.Module):
    """A network as ONNX's graph: without ``lengths`` if there is an output for every step."""

    def __init__(self, model: RecurrentModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        outputs: Tensor = self.model(inputs, lengths)
        return outputs


def _onnx(model: RecurrentModel) -> bytes:
    missing = [package for package in ONNX_PACKAGES if find_spec(package) is None]
    if missing:
        raise NoPlainForm(
            f"the format onnx needs the package {missing[0]}; install it with: "
            "pip install 'spectral-rnn-service[export]'"
        )
    count, steps = EXAMPLE
    recurrent = model.recurrent
    assert isinstance(recurrent, nn.RNN | nn.LSTM | nn.GRU)
    inputs = torch.zeros(count, steps, recurrent.input_size)
    if model.embedding is not None:
        inputs = torch.zeros(count, steps, dtype=torch.int64)
    given: dict[str, Tensor] = {"input": inputs}
    axes: dict[str, dict[int, str]] = {"input": {0: "batch", 1: "time"}, "output": {0: "batch"}}
    if model.readout == "last":
        given["lengths"], axes["lengths"] = torch.full((count,), steps), {0: "batch"}
    else:
        axes["output"] |= {1: "time"}
    content = io.BytesIO()
    # the newer exporter unrolls the recurrence over the steps of the example
    torch.onnx.export(
        _Graph(model).float().eval(),
        tuple(given.values()),
        content,  # type: ignore[arg-type]
        dynamo=False,
        input_names=list(given),
        output_names=["output"],
        dynamic_axes=axes,
    )
    return content.getvalue()


def write_plain(checkpoint: Path, folder: Path) -> str | None:
    """Write a checkpoint's network to a folder, as ``network.safetensors`` and ``network.onnx``.

    Returns:
        Why a file is missing, for a person to read; None if both were written.

    Raises:
        CheckpointInvalid: If the checkpoint cannot be used.
    """
    network = load(checkpoint)
    try:
        for form in ("safetensors", "onnx"):
            (folder / f"network.{form}").write_bytes(exported(network, form))
    except NoPlainForm as error:
        return str(error)
    return None


if __name__ == "__main__":
    problem = write_plain(Path(sys.argv[1]), Path(sys.argv[2]))
    if problem is not None:
        print(problem)
