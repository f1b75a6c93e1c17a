"""The Triton kernels with every way to divide a problem; test_recurrence.py compares them with the reference too."""

import pytest
import torch

from spectral import Activation, SpectralRNN, Transition, last_state, layer, recurrence
from spectral.errors import OptionError
from spectral.recurrence import triton, triton_launch
from spectral.recurrence.triton_plans import Plan, Plans, SumPlan
from tests.spectral.agreement import (
    NO_TRITON,
    assert_near,
    draw,
    gradients,
    inputs,
    offset,
    there,
    transition,
)

F64 = torch.float64
SUMS = SumPlan(16, 16, 4, 2)
"""Two tiles of rows and two blocks of units in the problems below."""
CUTS = {
    "row by row": Plan(1, 1, 8),
    "row by row, columns read again": Plan(1, 1, 2),
    "tiles of 8": Plan(8, 2, 8),
    "tiles of 16, one block": Plan(16, 1, 8),
}
cuts = pytest.mark.parametrize("cut", CUTS)


def use(monkeypatch, cut: str, sums: SumPlan = SUMS) -> None:
    """Let the kernels divide every problem in one of the ways above.

    Where columns are read again, what a step reads is loaded one step ahead, elsewhere two.
    """
    monkeypatch.setattr(triton_launch, "SHORT_STEP", 0 if "again" in cut else 1 << 13)
    monkeypatch.setattr(triton, "plans", lambda *sizes: Plans(CUTS[cut], CUTS[cut], sums))


@NO_TRITON
@cuts
@pytest.mark.parametrize(("name", "lead"), [("tanh", ()), ("leaky_relu", (2,)), ("modrelu", (2,))])
def test_every_cut_agrees_with_the_reference(name, cut, lead, monkeypatch):
    use(monkeypatch, cut)
    n, steps, batch = 19, 3, 9
    matrix = transition(n, 3, 4, lead=lead)
    z, h0 = inputs(lead, steps, batch, n)
    b = offset(name, n, lead=lead)
    found, expected = (
        recurrence(z, h0, matrix, Activation(name), offset=b, backend=by) for by in ("triton", "reference")
    )
    size = steps * batch * n * 8
    assert_near(found, expected, size)
    leaves = there(z, h0, *matrix, b)
    for f, e in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert_near(f, e, size)


@NO_TRITON
@cuts
@pytest.mark.parametrize(
    ("features", "loss_reads", "lead", "steps", "with_bias"),
    [
        pytest.param(1, (1,), (), 4, True, id="last state"),
        pytest.param(3, (0, 1), (2,), 3, False, id="both, K=2, no bias"),
        pytest.param(20, (0,), (), 1, True, id="all states, T=1"),
    ],
)
def test_every_cut_takes_the_input_and_gives_the_last_state(
    cut, features, loss_reads, lead, steps, with_bias, monkeypatch
):
    use(monkeypatch, cut)
    n, batch = 19, 9
    x, h0 = draw(*lead, steps, batch, features), draw(*lead, batch, n, seed=1).requires_grad_()
    weight, matrix = draw(*lead, n, features, seed=2).requires_grad_(), transition(n, 3, 4, lead=lead)
    bias = draw(*lead, n, seed=3).requires_grad_() if with_bias else None
    phi = Activation("tanh")
    z = torch.einsum("...tbi,...ni->...tbn", x, weight)
    z = z if bias is None else z + bias.unsqueeze(-2).unsqueeze(-2)
    states = recurrence(z, h0, matrix, phi, backend="reference")
    both = layer(x, weight, bias, h0, matrix, phi, backend="triton"), (states, states[..., -1, :, :])
    found, expected = (torch.cat([results[i].flatten() for i in loss_reads]) for results in both)
    size = steps * batch * n * 28
    assert_near(found, expected, size)
    leaves = there(weight, bias, h0, *matrix)
    for f, e in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert_near(f, e, size)
    with torch.no_grad():
        alone = last_state(x, weight, bias, h0, matrix, phi, backend="triton")
    assert torch.equal(alone, both[0][1])


@NO_TRITON
@cuts
def test_float32_in_every_cut_is_near_float64(cut, monkeypatch):
    """Three products in place of one, with the rounding of a tensor core's inputs as the kernels do it."""
    use(monkeypatch, cut)
    lead, n, steps, batch = (2,), 20, 6, 5
    matrix = Transition(*(t.detach().float().requires_grad_() for t in transition(n, 3, 4, lead=lead)))
    z, h0 = (t.detach().float().requires_grad_() for t in inputs(lead, steps, batch, n))
    exact = [t.detach().double().requires_grad_() for t in (z, h0, *matrix)]
    found = recurrence(z, h0, matrix, Activation("tanh"), backend="triton")
    expected = recurrence(*exact[:2], Transition(*exact[2:]), Activation("tanh"), backend="reference")
    size = steps * batch * n * 8
    assert_near(found, expected.float(), size)
    weight = draw(*found.shape, seed=9)
    grads = torch.autograd.grad((found * weight.float()).sum(), [z, h0, *matrix])
    for f, e in zip(grads, torch.autograd.grad((expected * weight).sum(), exact), strict=True):
        assert_near(f, e.float(), size)


@NO_TRITON
@cuts
def test_a_trial_has_the_same_bits_in_any_company(cut, monkeypatch):
    """Alone, among others, and beside one that has a NaN."""
    use(monkeypatch, cut)
    n, steps, batch, most = 19, 3, CUTS[cut].rows + 1, 3
    drawn = [(most, steps, batch, 2), (most, n, 2), (most, n), (most, batch, n), (most, n)]
    x, *rest = (draw(*shape, seed=i).float() for i, shape in enumerate(drawn))
    *rest, b = rest
    matrix = Transition(*(t.detach().float() for t in transition(n, 3, 4, lead=(most,))))

    def run(trials, x):
        leaves = [t[:trials].clone().requires_grad_() for t in (*rest, *matrix, b)]
        weight, bias, h0, *parts, offset = leaves
        phi = Activation("modrelu")
        states, last = layer(x[:trials], weight, bias, h0, Transition(*parts), phi, offset=offset, backend="triton")
        return [states, *torch.autograd.grad(states.sum() + last.square().sum(), leaves)]

    broken = x.clone()
    broken[1, 1, 0, 0] = torch.nan
    alone, together, beside_nan = run(1, x), run(most, x), run(most, broken)
    assert all(result[1].isnan().any() for result in beside_nan)
    for one, three, hurt in zip(alone, together, beside_nan, strict=True):
        assert torch.equal(one[0], three[0])
        assert torch.equal(three[[0, 2]], hurt[[0, 2]])


@NO_TRITON
@cuts
def test_columns_that_fill_up_a_smaller_rank_change_no_other_gradient(cut, monkeypatch):
    """Packs of trials with unlike ranks are filled up with zero columns."""
    use(monkeypatch, cut)
    n = 19
    sigma, a, c = (draw(*shape, seed=i).requires_grad_() for i, shape in enumerate([(n,), (n, 5), (n, 5)]))
    z, h0 = inputs((), 3, 9, n)

    def run(columns):
        wide = [torch.nn.functional.pad(t, (0, columns)) for t in (a, c)]
        states, *_ = triton.FORWARD(z, h0, sigma, *wide, None, None, None, "tanh", 0.01)
        return [states, *gradients(states, [z, h0, sigma, a, c])]

    for narrow, wide in zip(run(0), run(2), strict=True):
        assert_near(wide, narrow, 3 * 9 * n * 8)


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
