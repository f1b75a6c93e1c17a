"""The factors of the transition, W, lengths and norms in compiled code, against torch's operators in float64."""

import pytest
import torch

from spectral.cpu import library, threads
from spectral.cpu import transition as cpu
from spectral.transition import FACTORS, MATRIX, ON_CPU, Transition, dense, factors

pytestmark = pytest.mark.skipif(
    not library.available(torch.device("cpu"), torch.float64), reason="needs the compiled code, and so a compiler"
)
SIZES = [(1, 1, 1), (5, 2, 3), (16, 4, 0), (33, 0, 5), (40, 17, 17), (37, 37, 11), (130, 9, 32)]


def drawn(lead, n, m1, m2, dtype, seed=0):
    """Return sigma, u and v with a zero reflector on each side that has three or more."""
    generator = torch.Generator().manual_seed(seed)
    sigma = 1 + 0.1 * torch.randn(*lead, n, dtype=torch.float64, generator=generator)
    u, v = (torch.randn(*lead, n, m, dtype=torch.float64, generator=generator) for m in (m1, m2))
    if m1 > 2:
        u[..., m1 - 1] = 0
    if m2 > 2:
        v[..., 1] = 0
    return [tensor.to(dtype).requires_grad_() for tensor in (sigma, u, v)]


def pulled(operator, inputs, seed=1):
    """Return A and C, and the gradients of the inputs for random gradients of both."""
    generator = torch.Generator().manual_seed(seed)
    a, c = operator(*inputs)[:2]
    grads = [torch.randn(a.shape, dtype=torch.float64, generator=generator).to(a.dtype) for _ in range(2)]
    return [a.detach(), c.detach(), *torch.autograd.grad([a, c], inputs, grads)]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 2e-4)])
@pytest.mark.parametrize("lead", [(), (3,), (2, 3)])
@pytest.mark.parametrize("size", SIZES)
def test_factors_and_their_gradients_agree_with_torch(size, lead, dtype, bound):
    inputs = drawn(lead, *size, dtype)
    wanted = pulled(FACTORS, [tensor.detach().double().requires_grad_() for tensor in inputs])
    for found, expected in zip(pulled(ON_CPU, inputs), wanted, strict=True):
        assert found.shape == expected.shape
        torch.testing.assert_close(found.double(), expected, rtol=bound, atol=bound * (1 + _largest(expected)))


@pytest.mark.parametrize("only", [0, 1])
def test_one_gradient_may_be_absent(only):
    inputs = drawn((2,), 9, 3, 2, torch.float64)
    found, wanted = (torch.autograd.grad(op(*inputs)[only].square().sum(), inputs) for op in (ON_CPU, FACTORS))
    for own, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_w_and_its_gradient_agree_with_torch(size):
    sigma, u, v = drawn((2,), *size, torch.float64)
    a, c = (tensor.detach().requires_grad_() for tensor in FACTORS(sigma, u, v)[:2])
    leaves = [sigma, a, c]
    w, wanted = MATRIX(sigma, a, c), a @ c.mT + torch.diag_embed(sigma)
    torch.testing.assert_close(w, wanted, rtol=1e-12, atol=1e-12)
    grad = torch.randn(w.shape, dtype=w.dtype, generator=torch.Generator().manual_seed(2))
    pairs = zip(torch.autograd.grad(w, leaves, grad), torch.autograd.grad(wanted, leaves, grad), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_trial_has_the_same_bits_beside_more_reflectors_and_on_any_threads(dtype, count):
    n, ranks = 50, [(3, 1), (12, 20), (1, 9)]
    trials = [drawn((), n, m1, m2, dtype, seed) for seed, (m1, m2) in enumerate(ranks)]
    widest = [max(side) for side in zip(*ranks, strict=True)]
    padded = [torch.zeros(3, n, dtype=dtype), *(torch.zeros(3, n, m, dtype=dtype) for m in widest)]
    for k, trial in enumerate(trials):
        for together, own in zip(padded, trial, strict=True):
            together[k][..., : own.shape[-1]] = own.detach()
    leaves = [tensor.requires_grad_() for tensor in padded]
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        w = dense(Transition(*leaves))
        gradients = torch.autograd.grad(w.square().sum(), leaves)
    finally:
        torch.set_num_threads(before)
    for k, trial in enumerate(trials):
        alone = dense(Transition(*trial))
        assert torch.equal(alone, w[k])
        for own, found in zip(torch.autograd.grad(alone.square().sum(), trial), gradients, strict=True):
            assert torch.equal(own, found[k][..., : own.shape[-1]])
            if own.dim() > 1:
                assert not found[k][..., own.shape[-1] :].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_trial_changes_no_bit_of_the_others(bad):
    inputs = drawn((3,), 20, 4, 3, torch.float32)
    whole = pulled(ON_CPU, inputs)
    with torch.no_grad():
        inputs[1][1, 5, 2] = bad
    for found, expected in zip(pulled(ON_CPU, inputs), whole, strict=True):
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[2], expected[2])
        assert found[1].isnan().any()


def test_extreme_lengths_change_nothing():
    sigma, u, v = drawn((), 12, 2, 2, torch.float32)
    long = ON_CPU(sigma, u * 1e30, v * 1e-30)[:2]
    for found, expected in zip(long, ON_CPU(sigma, u, v)[:2], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_second_derivatives_go_through_torch():
    inputs = drawn((), 6, 2, 2, torch.float64)

    def function(*tensors):
        return factors(Transition(*tensors))[1:]

    assert torch.autograd.gradgradcheck(function, inputs)


def test_columns_are_scaled_to_length_one_whatever_stands_beside_them():
    raw = torch.randn(2, 33, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    raw[0, :, 3:] = 0
    alone = raw[0, :, :1].clone()
    cpu.normalize_(raw)
    cpu.normalize_(alone)
    assert torch.equal(raw[0, :, :1], alone)
    assert not raw[0, :, 3:].any()
    torch.testing.assert_close(raw[1].norm(dim=0), torch.ones(5, dtype=torch.float64), rtol=1e-14, atol=0)


@pytest.mark.parametrize("shape", [(3, 7), (3, 7, 5), (3, 2, 4, 5), (1, 1)])
def test_zero_columns_change_no_bit_of_a_sum_of_squares(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = cpu.squares(x)
    torch.testing.assert_close(found, x.double().square().flatten(1).sum(1), rtol=1e-14, atol=0)
    if x.dim() > 2:
        assert torch.equal(cpu.squares(torch.nn.functional.pad(x, (0, 3))), found)


def test_torch_runs_on_one_thread_and_compiled_code_on_all():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threads.torch_on_one_thread():
            assert (torch.get_num_threads(), threads.count()) == (1, 3)
        assert (torch.get_num_threads(), threads.count()) == (3, 3)
    finally:
        torch.set_num_threads(before)


def _largest(tensor):
    return float(tensor.abs().max()) if tensor.numel() else 0.0
