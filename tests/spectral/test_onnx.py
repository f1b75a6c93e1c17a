"""ONNX by torch's exporters: onnxruntime computes what the spectral module computes, to 1e-5."""

import io
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves, tree_map

from spectral import ScannedStep, SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN, spectral_svd
from tests.spectral.agreement import draw, generator, move_offsets

T, B, FEATURES, N = 4, 3, 2, 8

# torch's exporters warn of what they do themselves, and turn a warning that is an error into a failed export
pytestmark = pytest.mark.filterwarnings("ignore")


def build(cls: type, *arguments: Any, **options: Any) -> Any:
    options = {"reflectors": 2, "margin": 0.3, "generator": generator()} | options
    net = cls(FEATURES, N, *arguments, **options)
    move_offsets(net)
    return net.eval()


def relu() -> tuple[SpectralRNN, nn.Module]:
    net = build(SpectralRNN, 2, "relu", bidirectional=True)
    return net, net.to_rnn()


def tanh() -> tuple[SpectralRNN, nn.Module]:
    net = build(SpectralRNN)
    return net, net.to_rnn()


def lstm() -> tuple[SpectralLSTM, nn.Module]:
    net = build(SpectralLSTM, bidirectional=True)
    return net, net.to_lstm()


def gru() -> tuple[SpectralGRU, nn.Module]:
    net = build(SpectralGRU, 2, batch_first=True)
    return net, net.to_gru()


converted = pytest.mark.parametrize("convert", [tanh, relu, lstm, gru])
STEPS = {
    "modrelu": lambda: build(SpectralRNN, nonlinearity="modrelu"),
    "lstm with projection, 2 layers": lambda: build(SpectralLSTM, 2, proj_size=4),
    "gru": lambda: build(SpectralGRU),
}


def single(*shape: int) -> Tensor:
    return draw(*shape).float()


def zeros(net: Any, batch: int) -> Any:
    h = torch.zeros(batch, net.num_layers * (net.proj_size or N))
    return (h, torch.zeros(batch, net.num_layers * N)) if net.mode == "LSTM" else h


def with_onnxruntime(model: bytes) -> Any:
    """Return a function that runs a model on the leaves of its arguments and returns its results as a list."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Any) -> list[Any]:
        return session.run(None, dict(zip(names, map(np.asarray, tree_leaves(inputs)), strict=True)))

    return run


def assert_agree(found: Any, expected: Any) -> None:
    for f, e in zip(found, tree_leaves(expected), strict=True):
        np.testing.assert_allclose(f, e.detach(), rtol=1e-5, atol=1e-5)


def export(module: nn.Module, inputs: tuple[Any, ...], dims: tuple[Any, ...]) -> bytes:
    program = torch.onnx.export(module, inputs, dynamic_shapes=dims, dynamo=True, verbose=False)
    return program.model_proto.SerializeToString()


@converted
def test_converted_modules_take_any_batch(convert):
    net, plain = convert()
    inputs = [single(*((batch, T) if net.batch_first else (T, batch)), FEATURES) for batch in (B, B + 4, 1)]
    run = with_onnxruntime(export(plain, (inputs[0],), ({0 if net.batch_first else 1: "batch"},)))
    for x in inputs:
        assert_agree(run(x), net(x))


@converted
def test_the_older_exporter_takes_any_length_too(convert):
    net, plain = convert()
    model, states = io.BytesIO(), ["h_n", "c_n"][: len(tree_leaves(net(single(T, B, FEATURES)))) - 1]
    axes = {0: "batch", 1: "time"} if net.batch_first else {0: "time", 1: "batch"}
    torch.onnx.export(
        plain,
        (single(T, B, FEATURES),),
        model,
        dynamo=False,
        input_names=["input"],
        output_names=["output", *states],
        dynamic_axes={"input": axes, "output": axes} | {name: {1: "batch"} for name in states},
    )
    run = with_onnxruntime(model.getvalue())
    for sizes in ((T, B), (T + 5, 1), (1, B + 2)):
        x = single(*sizes, FEATURES)
        assert_agree(run(x), net(x))


@pytest.mark.parametrize("kind", STEPS)
def test_steps_take_any_batch(kind):
    net = STEPS[kind]()
    inputs = (single(B, FEATURES), zeros(net, B))
    run = with_onnxruntime(export(net.to_step(), inputs, tree_map(lambda _: {0: "batch"}, inputs)))
    for batch in (B, B + 2):
        x, hx = single(T, batch, FEATURES), tree_leaves(zeros(net, batch))
        for x_t, expected in zip(x, net(x)[0], strict=True):
            output, *hx = run(x_t, hx)
            assert_agree([output], expected)


@pytest.mark.parametrize("kind", [kind for kind in STEPS if kind != "gru"])
def test_scanned_steps_take_any_length_and_batch(kind):
    net = STEPS[kind]()
    hx = zeros(net, B)
    dims = ({0: "time", 1: "batch"}, tree_map(lambda _: {0: "batch"}, hx))
    run = with_onnxruntime(export(ScannedStep(net.to_step()).eval(), (single(T, B, FEATURES), hx), dims))
    for length, batch in ((T, B), (T + 5, B + 2), (1, B)):
        x = single(length, batch, FEATURES)
        output, h_n = net(x)
        assert_agree(run(x, zeros(net, batch)), (output, tree_map(lambda h: h.transpose(0, 1).flatten(1), h_n)))


def test_linear_layers_take_any_batch():
    layer = SpectralLinear(FEATURES, N, reflectors=2, generator=generator()).eval()
    parametrized = spectral_svd(nn.Linear(FEATURES, N), "weight", reflectors=2).eval()
    for module, convert in (
        (layer, SpectralLinear.to_linear),
        (parametrized, lambda module: parametrize.remove_parametrizations(module, "weight")),
    ):
        x = single(B, FEATURES)
        expected = module(x), module(single(B + 2, FEATURES))
        run = with_onnxruntime(export(convert(module), (x,), ({0: "batch"},)))
        assert_agree(run(x) + run(single(B + 2, FEATURES)), expected)
