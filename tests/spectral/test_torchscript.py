"""TorchScript through torch's own modules: saved, loaded and equal to the spectral module."""

import io

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from spectral import SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN
from tests.spectral.agreement import assert_near, draw, generator

OPTIONS = {"reflectors": 2, "dtype": torch.float64}


def rnn():
    net = SpectralRNN(3, 8, 2, "relu", bidirectional=True, generator=generator(), **OPTIONS)
    return net, net.to_rnn()


def lstm():
    net = SpectralLSTM(3, 8, proj_size=4, generator=generator(), **OPTIONS)
    return net, net.to_lstm()


def gru():
    net = SpectralGRU(3, 8, batch_first=True, generator=generator(), **OPTIONS)
    return net, net.to_gru()


def linear():
    net = SpectralLinear(3, 8, generator=generator(), **OPTIONS)
    return net, net.to_linear()


@pytest.mark.parametrize("convert", [rnn, lstm, gru, linear])
def test_a_converted_module_can_be_scripted_saved_and_loaded(convert):
    net, plain = convert()
    file, x = io.BytesIO(), draw(5, 4, 3)
    torch.jit.save(torch.jit.script(nn.Sequential(plain)), file)
    file.seek(0)
    for found, expected in zip(tree_leaves(torch.jit.load(file)(x)), tree_leaves(net(x)), strict=True):
        assert_near(found, expected, 8)
