"""The Triton kernels of the transition against torch's own operators in float64, in the interpreter."""

import pytest
import torch

from spectral import Transition
from spectral import transition as module
from spectral.gpu import device, factors
from spectral.transition import FACTORS, ON_GPU
from tests.spectral.agreement import NO_TRITON, assert_near, draw, gradients

pytestmark = NO_TRITON
SHAPES = [(1, 1, 1), (5, 2, 0), (6, 0, 3), (7, 7, 7), (19, 3, 17), (70, 16, 5), (130, 3, 2)]
"""n, m1, m2: one block of rows and several, one padded width and two, full sets."""


def leaves(n, m1, m2, lead=(), dtype=torch.float64):
    sigma = 1 + 0.3 * torch.tanh(draw(*lead, n))
    u, v = draw(*lead, n, m1, seed=1), draw(*lead, n, m2, seed=2)
    return [t.to(dtype).requires_grad_() for t in (sigma, u, v)]


def results(operator, given):
    a, c = operator(*given)[:2]
    return [a, c, *gradients(torch.cat([a, c], -2), given)]


@pytest.mark.parametrize(("lead", "dtype"), [((), torch.float64), ((1,), torch.float32), ((3,), torch.float32)])
@pytest.mark.parametrize(("n", "m1", "m2"), SHAPES)
def test_factors_and_gradients_are_those_of_torchs_operators(n, m1, m2, dtype, lead):
    given = leaves(n, m1, m2, lead, dtype)
    exact = [x.detach().double().requires_grad_() for x in given]
    for found, expected in zip(results(ON_GPU, given), results(FACTORS, exact), strict=True):
        assert found.dtype == dtype
        assert_near(found, expected.to(dtype), n * (m1 + m2 + 1))


@pytest.mark.parametrize("used", [0, 1])
def test_a_loss_that_reads_one_factor_alone(used):
    given = leaves(9, 2, 3)
    for found, expected in zip(*(gradients(by(*given)[used], given) for by in (ON_GPU, FACTORS)), strict=True):
        assert_near(found, expected, 100)


def test_derivatives_of_every_kind():
    given = tuple(leaves(5, 2, 3))

    def run(*inputs):
        return ON_GPU(*inputs)[:2]

    assert torch.autograd.gradcheck(run, given, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, given, fast_mode=True)


@pytest.mark.filterwarnings("ignore:invalid value")  # numpy, in which the interpreter computes, warns of infinity
@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_trial_that_is_not_finite_leaves_the_others_alone_and_shows(broken):
    given = leaves(40, 3, 2, (3,), torch.float32)
    before = results(ON_GPU, given)
    with torch.no_grad():
        given[1][1, 20, 1] = broken
    for found, expected in zip(results(ON_GPU, given), before, strict=True):
        assert torch.equal(found[::2], expected[::2])
        assert found[1].isnan().any()


def test_a_trial_has_the_same_bits_in_every_pack(monkeypatch):
    given = leaves(150, 3, 5, (4,), torch.float32)
    packed = results(lambda *given: ON_GPU(*given), given)
    for many in (1, 100):
        monkeypatch.setattr(device, "processors", lambda _, many=many: many)
        alone = [x.detach()[2].requires_grad_() for x in given]
        a, c = ON_GPU(*alone)
        assert torch.equal(a, packed[0][2])
        assert torch.equal(c, packed[1][2])
        weight = draw(4, 300, 8, seed=9)[2]
        found = torch.autograd.grad((torch.cat([a, c], -2) * weight).sum(), alone)
        for one, expected in zip(found, packed[2:], strict=True):
            assert torch.equal(one, expected[2])


def test_columns_of_zeros_change_no_bits_of_the_others_and_have_gradients_of_zero():
    sigma, u, v = (x.detach() for x in leaves(40, 4, 3, (), torch.float32))
    padded = [sigma, torch.nn.functional.pad(u, (0, 2)), torch.nn.functional.pad(v, (0, 5))]
    columns = [0, 1, 2, 3, 6, 7, 8]
    own, wide = ([x.clone().requires_grad_() for x in given] for given in ([sigma, u, v], padded))
    alone, packed = ON_GPU(*own), ON_GPU(*wide)
    weights = [draw(40, 7, seed=s).float() for s in (4, 5)]
    for found, expected in zip(packed[:2], alone[:2], strict=True):
        assert torch.equal(found[:, columns], expected)
    expected = torch.autograd.grad(list(alone[:2]), own, weights)
    found = torch.autograd.grad([x[:, columns] for x in packed[:2]], wide, weights)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], torch.nn.functional.pad(expected[1], (0, 2)))
    assert torch.equal(found[2], torch.nn.functional.pad(expected[2], (0, 5)))


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e30, 1e38])
def test_reflectors_of_any_finite_length(scale):
    sigma, u, v = (x.detach() for x in leaves(20, 3, 2, (), torch.float32))
    long = [sigma, u * torch.tensor([1.0, scale, 0.0]), v * scale]
    usual = [
        x.double()
        for x in (sigma, long[1].double() / torch.tensor([1.0, scale, 1.0]).double(), long[2].double() / scale)
    ]
    for found, expected in zip(ON_GPU(*long)[:2], FACTORS(*usual)[:2], strict=True):
        assert_near(found, expected.float(), 1000)


def test_many_nearly_parallel_reflectors():
    """Powers of the triangular matrix would overflow the precision of float32 here; its inverse stays small."""
    given = leaves(64, 16, 16, (), torch.float32)
    with torch.no_grad():
        for raw in given[1:]:
            raw[16:] = 1 + 1e-3 * raw[16:]
            raw[:16] *= 1e-3
    exact = [x.detach().double() for x in given]
    for found, expected in zip(ON_GPU(*given)[:2], FACTORS(*exact)[:2], strict=True):
        assert_near(found, expected.float(), 64 * 33)


def test_on_a_gpu_the_transition_is_one_launch_each_way(monkeypatch):
    calls, launch = [], device.launch

    def counted(name, *arguments, **options):
        calls.append(name)
        launch(name, *arguments, **options)

    monkeypatch.setattr(device, "launch", counted)
    monkeypatch.setattr(device, "runs", lambda *_: True)
    given = leaves(12, 2, 3, (2,), torch.float32)
    made = module.factors(Transition(*given))
    (made.a.sum() + made.c.sum()).backward()
    assert calls == ["factors_kernels.factors", "factors_kernels.factors_backward"]


def test_sizes_beyond_the_kernels_take_torchs_operators(monkeypatch):
    monkeypatch.setattr(device, "runs", lambda *_: True)
    monkeypatch.setattr(module, "_runs_on_cpu", lambda *_: False)
    assert factors.fits(1024, 32, 32)
    assert not factors.fits(100, 33, 1)
    assert not factors.fits(4, 0, 0)
    given = leaves(40, 33, 1)
    made = module.factors(Transition(*given))
    assert torch.equal(made.a, FACTORS(*given)[0])
