"""Networks that read a whole sequence at once: h0, padding, residual blocks."""

from __future__ import annotations

import math

import pytest
import torch

from tests.workers.models.networks import (
    assert_packed_is_alone,
    drawn,
    mixed,
    shaken,
    trial,
)
from workers.models import initial_network, pack
from workers.models.deep import DeepModel
from workers.spec.model import FEED_FORWARD


@pytest.mark.parametrize("kind", sorted(FEED_FORWARD))
def test_h0_of_a_deep_net_is_added_before_its_layers(kind: str) -> None:
    packed = pack([initial_network(trial(kind))])
    inputs = drawn(1, 5, 8, 2)
    h0 = packed.zeros(5).requires_grad_()
    read, state = packed.read(inputs, h0, every=False)
    (found,) = torch.autograd.grad(read.square().sum(), h0)
    assert state.shape == h0.shape == found.shape == (1, 1, 5, 6)
    step = 1e-6 * drawn(1, 1, 5, 6)
    ahead, back = (packed.read(inputs, sign * step, every=False)[0].square().sum() for sign in (1, -1))
    torch.testing.assert_close((ahead - back) / 2, (found * step).sum(), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="at every step"):
        packed.read(inputs, every=True)


@pytest.mark.parametrize("kind", sorted(FEED_FORWARD))
def test_padding_after_a_sequences_end_is_not_read_by_deep_nets(kind: str) -> None:
    models = shaken([initial_network(trial(kind, **own)) for own in mixed(kind)])
    inputs, lengths = drawn(3, 4, 8, 2), torch.tensor([[8, 3, 1, 5]] * 3)
    assert_packed_is_alone(models, inputs, lengths)
    behind = inputs.clone()
    behind[:, 1, 3:] = math.nan
    assert torch.equal(models[0](inputs[0], lengths[0]), models[0](behind[0], lengths[0]))
    assert not torch.equal(models[0](inputs[0], lengths[0]), models[0](inputs[0]))


def test_a_residual_block_adds_two_layers_to_its_input() -> None:
    (model,) = shaken([initial_network(trial("resnet", layers=2))])
    assert isinstance(model, DeepModel)
    inputs, phi = drawn(5, 8, 2), torch.nn.functional.leaky_relu
    x = phi(model.first(inputs.flatten(1)))
    weights, biases = (p for _, p in model.layers.named_parameters())
    wanted = phi(x + phi(x @ weights[0].mT + biases[0]) @ weights[1].mT + biases[1])
    torch.testing.assert_close(model.read(inputs, None), wanted, rtol=1e-12, atol=1e-12)
