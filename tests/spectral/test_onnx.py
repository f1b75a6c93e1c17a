"""ONNX by torch's exporters: onnxruntime computes what the spectral module computes, to 1e-5."""

import io
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from spectral import ScannedStep, SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN
from tests.spectral.agreement import draw, generator, move_offsets

T, B, FEATURES, N = 4, 3, 2, 8

pytestmark = [
    pytest.mark.filterwarnings("ignore:The tensor attributes self._flat_weights:UserWarning"),  # of torch's own modules
    pytest.mark.filterwarnings("ignore:# The axis name. batch will not be used:UserWarning"),  # inputs share it
]


def build(cls: type, *arguments: Any, **options: Any) -> nn.Module:
    net = cls(FEATURES, N, *arguments, reflectors=2, margin=0.3, generator=generator(), **options)
    move_offsets(net)
    return net.eval()


NETS = {
    "tanh": lambda: build(SpectralRNN),
    "relu, 2 layers, both directions": lambda: build(SpectralRNN, 2, "relu", bidirectional=True),
    "lstm, 2 layers, both directions": lambda: build(SpectralLSTM, 2, bidirectional=True),
    "gru, batch first": lambda: build(SpectralGRU, batch_first=True),
}
STEPS = {
    "modrelu": lambda: build(SpectralRNN, nonlinearity="modrelu"),
    "lstm, 2 layers": lambda: build(SpectralLSTM, 2, proj_size=4),
    "gru": lambda: build(SpectralGRU),
}


def plain(net: nn.Module) -> nn.Module:
    return {SpectralRNN: "to_rnn", SpectralLSTM: "to_lstm", SpectralGRU: "to_gru"}[type(net)]


def single(*shape: int) -> Tensor:
    return draw(*shape).float()


def assert_agrees(model: bytes, inputs: Any, expected: Any) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    found = session.run(None, dict(zip(names, [x.numpy() for x in tree_leaves(inputs)], strict=True)))
    for f, e in zip(found, tree_leaves(expected), strict=True):
        np.testing.assert_allclose(f, e.detach().numpy(), rtol=1e-5, atol=1e-5)


def exported(module: nn.Module, inputs: tuple[Any, ...], dims: tuple[Any, ...]) -> bytes:
    program = torch.onnx.export(module, inputs, dynamic_shapes=dims, dynamo=True, verbose=False)
    return program.model_proto.SerializeToString()
