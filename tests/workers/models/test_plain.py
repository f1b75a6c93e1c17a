"""Trained networks without our code: torch's modules and ONNX Runtime compute what the network computes."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from workers.errors import NoPlainForm
from workers.models import SequenceModel, build, plain
from workers.spec.model import ModelSpec
from workers.tasks import Adding, Copy, PtbChar, Task

# torch's exporters warn of what they do themselves
pytestmark = pytest.mark.filterwarnings("ignore")

KINDS: dict[str, dict[str, Any]] = {
    "spectral_rnn": {"reflectors": 3, "margin": 0.3, "activation": "relu", "layers": 2},
    "spectral tanh": {"kind": "spectral_rnn", "reflectors_u": 2, "reflectors_v": 4, "activation": "tanh"},
    "ornn": {"kind": "ornn", "activation": "tanh"},
    "rnn": {"kind": "rnn"},
    "irnn": {"kind": "irnn"},
    "lstm": {"kind": "lstm"},
    "gru": {"kind": "gru"},
    "spectral_lstm": {"kind": "spectral_lstm", "reflectors": 2},
    "spectral_gru": {"kind": "spectral_gru", "reflectors": 2, "layers": 2},
    "exprnn": {"kind": "exprnn", "activation": "tanh", "layers": 2},
}
TASKS: dict[str, Task] = {
    "last": Adding(name="adding", length=9),
    "every": Copy(name="copy", length=4),
    "tokens": PtbChar(name="ptb_char", length=6),
}


def network(model: dict[str, Any], task: Task) -> SequenceModel:
    spec = ModelSpec.model_validate({"hidden_size": 6} | model)
    found = build(spec, task, seed=3).eval()
    with torch.no_grad():  # away from what biases start as
        for name, parameter in found.named_parameters():
            if "bias" in name or "singular" in name:
                parameter.add_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))
    return found


def inputs_of(task: Task, count: int, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(count + steps)
    if task.tokens is not None:
        return torch.randint(task.tokens, (count, steps), generator=generator)
    return torch.randn(count, steps, task.input_size, generator=generator)


def expected(model: SequenceModel, inputs: Tensor, lengths: Tensor | None) -> np.ndarray:
    with torch.inference_mode():
        return model(inputs, lengths).numpy()


def as_documented(content: bytes, inputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Compute with torch alone, by the lines of docs/mlflow.md."""
    found = torch.load(io.BytesIO(content), weights_only=True)
    config = found["config"]
    net = nn.ModuleDict({"recurrent": getattr(nn, config["recurrent"])(**config["arguments"])})
    net["head"] = nn.Linear(config["arguments"]["hidden_size"], config["outputs"])
    if config["embedding"]:
        net["embedding"] = nn.Embedding(*config["embedding"])
    net.load_state_dict(found["weights"])
    with torch.inference_mode():
        x = net["embedding"](inputs) if config["embedding"] else inputs
        states, _ = net["recurrent"](x)
        if config["readout"] == "last":
            last = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
            states = states[torch.arange(len(x)), last - 1]
        return net["head"](states)


CASES = [(kind, task) for kind in KINDS for task in TASKS if task == "last" or kind in ("spectral_rnn", "lstm")]


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_torch_alone_and_onnx_compute_the_same_at_any_lengths(kind: str, task: str) -> None:
    model = network({"kind": kind} | KINDS[kind] if "kind" not in KINDS[kind] else KINDS[kind], TASKS[task])
    content = plain.exported(model, "torch")
    session = onnxruntime.InferenceSession(plain.exported(model, "onnx"), providers=["CPUExecutionProvider"])
    for count, steps, lengths in ((2, 5, None), (3, 11, torch.tensor([11, 1, 4])), (1, 1, None)):
        inputs = inputs_of(TASKS[task], count, steps)
        own = lengths if model.readout == "last" else None
        wanted = expected(model, inputs, own)
        np.testing.assert_allclose(as_documented(content, inputs, own), wanted, rtol=1e-5, atol=1e-5)
        given = {"input": inputs.numpy()}
        if model.readout == "last":
            given["lengths"] = (torch.full((count,), steps) if own is None else own).numpy()
        (found,) = session.run(None, given)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_safetensors_file_has_the_same_weights_and_the_config(tmp_path: Any) -> None:
    model = network({"kind": "spectral_rnn"} | KINDS["spectral_rnn"], TASKS["last"])
    file = tmp_path / "net.safetensors"
    file.write_bytes(plain.exported(model, "safetensors"))
    found = torch.load(io.BytesIO(plain.exported(model, "torch")), weights_only=True)
    with safe_open(file, "pt") as opened:
        assert json.loads(opened.metadata()["config"]) == found["config"]
        assert {name: opened.get_tensor(name).tolist() for name in opened.keys()} == {  # noqa: SIM118 (no mapping)
            name: tensor.tolist() for name, tensor in found["weights"].items()
        }
    assert found["config"]["arguments"]["nonlinearity"] == "relu"


def test_a_double_precision_network_keeps_its_precision_in_torch() -> None:
    model = build(ModelSpec(hidden_size=5, reflectors=2), Adding(name="adding", length=9), dtype=torch.float64)
    found = torch.load(io.BytesIO(plain.exported(model.eval(), "torch")), weights_only=True)
    assert {tensor.dtype for tensor in found["weights"].values()} == {torch.float64}
    assert found["config"]["dtype"] == "float64"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "spectral_rnn", "activation": "modrelu"}, "only tanh and relu, and this network uses modrelu"),
        ({"kind": "exprnn", "activation": "modrelu"}, "only tanh and relu, and this network uses modrelu"),
        ({"kind": "spectral_mlp"}, "reads a whole sequence at once"),
    ],
)
def test_what_has_no_plain_form_is_refused_in_words(model: dict[str, Any], message: str) -> None:
    with pytest.raises(NoPlainForm, match=message):
        plain.exported(network(model, TASKS["last"]), "torch")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "find_spec", lambda name: None)
    with pytest.raises(NoPlainForm, match=r"needs the package onnx; .*spectral-rnn-service\[export\]"):
        plain.exported(network(KINDS["rnn"], TASKS["last"]), "onnx")
