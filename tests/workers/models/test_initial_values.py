"""Initial parameters: a function of the seed, and as the literature defines them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.workers.models.networks import (
    drawn,
    trial,
)
from workers.models import initial_network
from workers.models.deep import DeepModel
from workers.models.recurrent import RecurrentModel
from workers.spec.model import KINDS


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_initial_values_are_a_function_of_the_seed(kind: str) -> None:
    first = initial_network(trial(kind, seed=1)).state_dict()
    torch.rand(3)
    again, other = initial_network(trial(kind, seed=1)).state_dict(), initial_network(trial(kind, seed=2)).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_irnn_starts_from_the_identity_without_bias() -> None:
    own = dict(initial_network(trial("irnn", layers=1)).named_parameters())
    assert torch.equal(own["recurrent.weight_hh_l0"], torch.eye(6, dtype=torch.float64))
    assert not own["recurrent.bias_ih_l0"].any()
    assert not own["recurrent.bias_hh_l0"].any()
    assert 0 < own["recurrent.weight_ih_l0"].abs().max() < 0.01


@pytest.mark.parametrize("kind", ["lstm", "spectral_lstm"])
def test_forget_gates_start_open(kind: str) -> None:
    own = dict(initial_network(trial(kind)).named_parameters())
    for layer in range(2):
        biases = [p for name, p in own.items() if name.startswith("recurrent.bias") and name.endswith(f"_l{layer}")]
        assert torch.equal(sum(biases, torch.zeros(()))[6:12], torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("start", ["henaff", "cayley", "identity"])
def test_an_exprnn_starts_from_plane_rotations(start: str) -> None:
    model = initial_network(trial("exprnn", start=start, layers=1))
    assert isinstance(model, RecurrentModel)
    net: Any = model.recurrent
    w = net.layers[0].weight_hh.detach()
    angles = torch.stack([torch.atan2(w[2 * j + 1, 2 * j], w[2 * j, 2 * j]) for j in range(3)])
    cos, sin = torch.cos(angles), torch.sin(angles)
    turns = [torch.stack([torch.stack([c, -s]), torch.stack([s, c])]) for c, s in zip(cos, sin, strict=True)]
    blocks = torch.block_diag(*turns)
    torch.testing.assert_close(w, blocks, rtol=0, atol=1e-12)
    bound = {"henaff": math.pi, "cayley": math.pi / 2, "identity": 1e-12}[start]
    assert angles.abs().max() <= bound
    assert start == "identity" or angles.abs().min() > 0
    assert start != "cayley" or angles.min() > 0


def test_a_spectral_mlp_starts_as_the_identity_from_layer_to_layer() -> None:
    model = initial_network(trial("spectral_mlp", layers=40))
    assert isinstance(model, DeepModel)
    inputs = drawn(5, 8, 2)
    once = torch.nn.functional.leaky_relu(model.first(inputs.flatten(1)))
    positive = once > 0
    torch.testing.assert_close(model.read(inputs, None)[positive], once[positive], rtol=1e-12, atol=0)
