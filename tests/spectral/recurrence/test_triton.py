"""The Triton kernels with every way to divide a problem; test_recurrence.py compares them with the reference too."""

import pytest
import torch

from spectral import Activation, SpectralRNN, Transition, recurrence
from spectral.errors import OptionError
from spectral.recurrence import triton
from spectral.recurrence.triton import TilePlan, plan
from tests.spectral.agreement import NO_TRITON, assert_near, draw, gradients, named, offset, there, transition

F64 = torch.float64
CUTS = {
    "row by row": TilePlan(1, 32, 8, 8, 8, 1),
    "row by row, columns read again": TilePlan(1, 32, 8, 2, 2, 1),
    "tiles": TilePlan(16, 32, 16, 16, 16, 4),
}


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("lead", [(), (2,)], ids=["alone", "K=2"])
@pytest.mark.parametrize(
    ("backend", "name"), [named("triton", "tanh"), named("triton", "leaky_relu"), named("triton", "modrelu")]
)
def test_every_cut_agrees_with_the_reference(backend, name, cut, lead, monkeypatch):
    monkeypatch.setattr(triton, "plan", lambda *sizes: CUTS[cut])
    n, steps, batch = 19, 4, 18 if cut == "tiles" else 3
    matrix = transition(n, 3, 4, lead=lead)
    z, h0 = draw(*lead, steps, batch, n, seed=5).requires_grad_(), draw(*lead, batch, n, seed=6).requires_grad_()
    b = offset(name, n, lead=lead)
    found, expected = (
        recurrence(z, h0, matrix, Activation(name), offset=b, backend=by) for by in (backend, "reference")
    )
    size = steps * batch * n * 8
    assert_near(found, expected, size)
    leaves = there(z, h0, *matrix, b)
    for f, e in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert_near(f, e, size)


@NO_TRITON
def test_relu_at_infinity_and_nan_is_torchs():
    z = torch.tensor([-torch.inf, torch.inf, torch.nan, -1.0], dtype=F64).view(1, 1, 4)
    matrix = Transition(torch.zeros(4, dtype=F64), torch.zeros(4, 1, dtype=F64), torch.zeros(4, 1, dtype=F64))
    found = recurrence(z, torch.zeros(1, 4, dtype=F64), matrix, Activation("relu"), backend="triton")
    assert torch.equal(found.nan_to_num(7), torch.relu(z).nan_to_num(7))


@NO_TRITON
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("every", [None, 4])
def test_bfloat16_under_autocast_stores_half_and_sums_in_float32(every, layers):
    net = SpectralRNN(
        3,
        20,
        layers,
        reflectors=3,
        backend="triton",
        checkpoint_every=every,
        generator=torch.Generator().manual_seed(0),
    )
    x = draw(6, 5, 3).float()
    exact, _ = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states, _ = net(x)
    assert states.dtype == torch.bfloat16
    assert (states.float() - exact).abs().max() < 0.02
    wanted = torch.autograd.grad(exact.square().sum(), list(net.parameters()))
    found = torch.autograd.grad(states.float().square().sum(), list(net.parameters()))
    for f, w in zip(found, wanted, strict=True):
        assert f.dtype == torch.float32
        assert (f - w).abs().max() <= 0.02 * w.abs().max()


def test_the_cut_follows_from_size_and_device():
    h100 = (132, 232448)
    assert plan(512, 32, 128, *h100) == TilePlan(1, 512, 32, 32, 32, 16)
    assert plan(100, 20, 128, *h100) == TilePlan(1, 128, 32, 32, 32, 4)
    assert plan(256, 32, 4096, *h100) == TilePlan(16, 256, 32, 32, 32, 8)
    assert plan(512, 32, 4096, *h100).rows == 1, "a tile would not fit"
    assert plan(1024, 64, 128, *h100) == TilePlan(1, 1024, 64, 8, 8, 16)
    assert plan(1, 0, 1, *h100) == TilePlan(1, 1, 1, 1, 1, 1)


@pytest.mark.parametrize(
    ("installed", "interpreted", "says"), [(True, "0", "needs a CUDA device"), (False, "1", "not installed")]
)
def test_where_it_cannot_run_it_says_why(monkeypatch, installed, interpreted, says):
    monkeypatch.setattr(triton, "installed", lambda: installed)
    monkeypatch.setenv("TRITON_INTERPRET", interpreted)
    matrix = transition(4, 1, 1)
    with pytest.raises(OptionError, match=says):
        recurrence(draw(2, 1, 4), draw(1, 4), matrix, Activation("tanh"), backend="triton")
    assert recurrence(draw(2, 1, 4), draw(1, 4), matrix, Activation("tanh")).shape == (2, 1, 4)
