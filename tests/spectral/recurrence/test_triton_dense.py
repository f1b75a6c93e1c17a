"""The dense Triton kernels with every way to divide a problem; test_recurrence.py compares them with the reference."""

import pytest
import torch

from spectral import Activation, Transition, layer, recurrence
from spectral.recurrence import triton_dense
from spectral.recurrence.triton_dense import DensePlan, plan
from tests.spectral.agreement import NO_TRITON, assert_near, draw, gradients, offset, there, transition

pytestmark = NO_TRITON
F64 = torch.float64
CUTS = {
    "a row, all of W in registers": DensePlan(1, 16, 32, 2, 4),
    "a row, one block of two in registers": DensePlan(1, 16, 16, 1, 2),
    "a row, W read at every step": DensePlan(1, 32, 32, 0, 8),
    "two rows": DensePlan(2, 16, 32, 1, 4),
    "four rows": DensePlan(4, 16, 16, 2, 2),
}


@pytest.mark.parametrize("unrolled", [64, 0], ids=["unrolled", "in a loop"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("lead", [(), (2,)], ids=["alone", "K=2"])
@pytest.mark.parametrize("name", ["tanh", "modrelu"])
def test_every_cut_agrees_with_the_reference(name, cut, lead, unrolled, monkeypatch):
    monkeypatch.setattr(triton_dense, "plan", lambda *sizes: CUTS[cut])
    monkeypatch.setattr(triton_dense, "UNROLLED_TILES", unrolled)
    n, steps, batch = 19, 3, 3
    matrix = transition(n, 3, 4, lead=lead)
    z, h0 = draw(*lead, steps, batch, n, seed=5).requires_grad_(), draw(*lead, batch, n, seed=6).requires_grad_()
    b = offset(name, n, lead=lead)
    found, expected = (
        recurrence(z, h0, matrix, Activation(name), offset=b, backend=by) for by in ("triton_dense", "reference")
    )
    size = steps * batch * n * 8
    assert_near(found, expected, size)
    leaves = there(z, h0, *matrix, b)
    for f, e in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert_near(f, e, size)


@pytest.mark.parametrize("steps", [16, 19])
def test_many_steps_are_read_ahead(steps):
    z, h0, matrix = draw(steps, 2, 5).requires_grad_(), draw(2, 5, seed=1).requires_grad_(), transition(5, 1, 2)
    found, expected = (recurrence(z, h0, matrix, Activation("tanh"), backend=by) for by in ("triton_dense", "dense"))
    assert_near(found, expected, steps * 2 * 5)
    leaves = [z, h0, *matrix]
    for f, e in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        assert_near(f, e, steps * 2 * 5)


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_relu_at_infinity_and_nan_is_torchs():
    z = torch.tensor([-torch.inf, torch.inf, torch.nan, -1.0], dtype=F64).view(1, 1, 4)
    matrix = Transition(torch.zeros(4, dtype=F64), torch.zeros(4, 1, dtype=F64), torch.zeros(4, 1, dtype=F64))
    found = recurrence(z, torch.zeros(1, 4, dtype=F64), matrix, Activation("relu"), backend="triton_dense")
    assert torch.equal(found.nan_to_num(7), torch.relu(z).nan_to_num(7))


@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_an_infinite_state_stays_what_torch_makes_of_it():
    """Units that fill up a part must not turn an infinite sum into NaN."""
    matrix = Transition(torch.ones(3, dtype=F64), torch.zeros(3, 1, dtype=F64), torch.zeros(3, 1, dtype=F64))
    z = torch.tensor([[[torch.inf, 0.0, 0.0]], [[0.0, 1.0, 2.0]], [[0.0, 0.0, 0.0]]], dtype=F64)
    found, expected = (
        recurrence(z, torch.zeros(1, 3, dtype=F64), matrix, Activation("relu"), backend=by)
        for by in ("triton_dense", "dense")
    )
    assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7))


def test_states_of_bfloat16_leave_the_sums_in_float32():
    """Autocast has no effect: the parameters' dtype is that of the states."""
    matrix = Transition(*(t.detach().float() for t in transition(9, 2, 2)))
    z, h0 = draw(3, 2, 9).float(), draw(2, 9).float()
    exact = recurrence(z, h0, matrix, Activation("tanh"), backend="triton_dense")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = recurrence(z, h0, matrix, Activation("tanh"), backend="triton_dense")
    assert torch.equal(found, exact)


def test_a_loss_of_the_last_state_alone_makes_no_gradient_of_all_states(monkeypatch):
    given = []
    run = triton_dense._launch
    monkeypatch.setattr(
        triton_dense, "_launch", lambda *arguments, **options: (given.append(options), run(*arguments, **options))
    )
    weight = draw(5, 2).requires_grad_()
    _, last = layer(
        draw(3, 2, 2), weight, None, draw(2, 5), transition(5, 1, 1), Activation("tanh"), backend="triton_dense"
    )
    last.sum().backward()
    assert given == [{"FEATURES": 2}, {"FEATURES": 2, "HAS_GRAD": False, "HAS_LAST": True}]


def test_the_cut_follows_from_size_and_device():
    assert plan(170, 128, 132) == DensePlan(1, 16, 64, 11, 8)
    assert (plan(170, 128, 132).blocks(170), plan(170, 128, 132).parts(170)) == (11, 3)
    assert plan(256, 128, 132).held == 8, "the rest of W is read at every step"
    assert plan(256, 128, 132, 8).held == 4, "a number of float64 takes two registers"
    assert plan(64, 128, 132).warps == 4
    assert [plan(128, rows, 132).rows for rows in (1, 264, 265, 10_000)] == [1, 1, 2, 2]
    assert plan(64, 10_000, 132).rows == 4
    assert plan(512, 128, 132) == DensePlan(2, 16, 128, 1, 16)


def test_a_row_has_the_same_bits_however_many_share_its_program(monkeypatch):
    z, h0, matrix = draw(4, 5, 19).requires_grad_(), draw(5, 19, seed=1), transition(19, 2, 2)
    found = []
    for cut in (DensePlan(1, 16, 32, 2, 4), DensePlan(2, 16, 32, 2, 4), DensePlan(4, 16, 32, 0, 4)):
        monkeypatch.setattr(triton_dense, "plan", lambda *sizes, cut=cut: cut)
        states = recurrence(z, h0, matrix, Activation("tanh"), backend="triton_dense")
        found.append([states, *gradients(states, [z])])
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others, strict=True))


@pytest.mark.parametrize("size", [1, 15, 64, 65, 100, 128, 129, 170, 200, 256, 257, 512])
@pytest.mark.parametrize("rows", [1, 100, 1000])
def test_the_units_cover_all_columns(size, rows):
    """A vector has as many places as there are units, and every column of W is read from one of them."""
    cut = plan(size, rows, 132)
    assert cut.parts(size) * cut.part >= cut.blocks(size) * cut.block >= size
    assert cut.part == cut.warps * 32 * 4 // cut.block


@pytest.mark.parametrize("cut", ["a row, one block of two in registers", "two rows"])
@pytest.mark.parametrize("features", [1, 3, 5])
@pytest.mark.parametrize("lead", [(), (2,)], ids=["alone", "K=2"])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_input_is_projected_inside_or_beforehand(cut, features, lead, with_bias, monkeypatch):
    monkeypatch.setattr(triton_dense, "plan", lambda *sizes: CUTS[cut])
    n, steps, batch = 19, 3, 3
    x, h0, matrix = draw(*lead, steps, batch, features), draw(*lead, batch, n, seed=1), transition(n, 1, 2, lead=lead)
    weight = draw(*lead, n, features, seed=2).requires_grad_()
    bias = draw(*lead, n, seed=3).requires_grad_() if with_bias else None
    runs = [
        torch.cat([part.flatten() for part in layer(x, weight, bias, h0, matrix, Activation("tanh"), backend=by)])
        for by in ("triton_dense", "dense")
    ]
    leaves = there(weight, bias, *matrix)
    assert_near(*runs, steps * batch * n * features)
    for f, e in zip(*(gradients(run, leaves) for run in runs), strict=True):
        assert_near(f, e, steps * batch * n * features)
