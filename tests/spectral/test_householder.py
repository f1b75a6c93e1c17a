import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral.errors import ReflectorCountError
from spectral.householder import normalize_reflectors_, reference, wy
from spectral.householder.decompose import reflectors_of
from tests.spectral.agreement import LAW, assert_near, draw, gradients

SHAPES = [(1, 0), (1, 1), (2, 1), (5, 5), (7, 3), (8, 8), (33, 9)]


@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize("name", ["apply", "apply_transposed", "dense"])
def test_wy_does_what_one_reflector_after_another_does(name, n, m, lead):
    raw, x = draw(*lead, n, m).requires_grad_(), draw(*lead, 4, n, seed=1).requires_grad_()
    inputs = [raw] if name == "dense" else [raw, x]
    found, expected = getattr(wy, name)(*inputs), getattr(reference, name)(*inputs)
    assert_near(found, expected, n * (m + 1), name)
    for f, e in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        assert_near(f, e, n * (m + 1), f"gradient of {name}")


@LAW
@given(n=st.integers(1, 20), data=st.data())
def test_the_product_is_orthogonal(n, data):
    m = data.draw(st.integers(0, n))
    q = wy.dense(draw(n, m, seed=n))
    assert_near(q.mT @ q, torch.eye(n, dtype=q.dtype), n * (m + 1))
    assert torch.linalg.det(q).sign() == (-1) ** m


def test_apply_and_dense_agree_on_the_side():
    raw, x = draw(6, 4), draw(3, 6, seed=1)
    assert_near(wy.apply(raw, x), x @ wy.dense(raw).mT, 24)
    assert_near(wy.apply_transposed(raw, x), x @ wy.dense(raw), 24)


def test_gradient_is_orthogonal_to_each_reflector():
    raw = draw(9, 6).tril().requires_grad_()
    (grad,) = gradients(wy.apply(raw, draw(5, 9, seed=1)), [raw])
    along = (grad * raw).sum(0).abs() / (grad.norm(dim=0) * raw.norm(dim=0)).clamp_min(1e-300)
    assert along[:-1].max() < 1e-13


def test_gradient_of_masked_coordinates_is_exactly_zero():
    raw = draw(6, 6).requires_grad_()
    (grad,) = gradients(wy.dense(raw), [raw])
    assert torch.equal(grad.triu(1), torch.zeros_like(grad))


@pytest.mark.parametrize("way", [reference, wy])
def test_a_zero_reflector_is_the_identity_and_its_gradient_is_exactly_zero(way):
    raw = draw(6, 4)
    raw[:, 2] = 0
    without = torch.cat([raw[:, :2], torch.zeros(6, 1, dtype=raw.dtype), raw[:, 3:]], 1)
    raw.requires_grad_()
    q = way.dense(raw)
    assert_near(q, way.dense(without), 24)
    (grad,) = gradients(q, [raw])
    assert torch.equal(grad[:, 2], torch.zeros(6, dtype=raw.dtype))
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize("way", [reference, wy])
def test_a_reflector_that_is_nan_shows(way):
    for broken in (torch.nan, torch.inf):
        raw = draw(5, 2)
        raw[3, 1] = broken
        assert way.dense(raw).isnan().any()


@pytest.mark.parametrize("scale", [1e-40, 1e-30, 1e-20, 1e20, 1e30, 1e38])
@pytest.mark.parametrize("way", [reference, wy])
def test_a_reflector_may_have_any_finite_length(way, scale):
    """Compare with reflectors of usual length: the same product, and a gradient that is 1 / scale times theirs."""
    raw, x = draw(7, 3).float().tril(), draw(4, 7, seed=1).float()
    long = (raw * torch.tensor([1.0, scale, 1.0])).requires_grad_()
    usual = (long.detach().double() * torch.tensor([1.0, 1 / scale, 1.0], dtype=torch.float64)).requires_grad_()
    assert_near(way.apply(long, x), way.apply(usual.float(), x), 1000)
    if scale < 1e-30:
        return  # its gradient is too large for a number
    weight = draw(4, 7, seed=2)
    (found,) = torch.autograd.grad((way.apply(long, x) * weight.float()).sum(), [long])
    (expected,) = torch.autograd.grad((way.apply(usual, x.double()) * weight).sum(), [usual])
    for j, factor in enumerate((1.0, scale, 1.0)):
        assert_near(factor * found[:, j], expected[:, j].float(), 1000, f"column {j}")


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_gradient_by_hand_and_the_unit_length_of_reflectors_of_any_length(scale):
    raw, grad_y, grad_t = draw(6, 3).tril(), draw(6, 3, seed=1), draw(3, 3, seed=2)
    long = raw.float() * scale
    found = wy.gradient_of_raw(long, wy.unit_columns(long), grad_y.float(), grad_t.float())
    expected = wy.gradient_of_raw(raw, wy.unit_columns(raw), grad_y, grad_t)
    assert_near(found * scale, expected.float(), 1000)
    normalize_reflectors_(long)
    assert_near(long, wy.unit_columns(raw).float(), 100)


def test_normalisation_leaves_zero_and_shows_what_is_broken():
    raw = torch.zeros(4, 3)
    raw[2, 1], raw[3, 2] = torch.inf, torch.nan
    normalize_reflectors_(raw)
    assert torch.equal(raw[:, 0], torch.zeros(4))
    assert raw[2, 1].isnan()
    assert raw[3, 2].isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_factors_of_half_precision_are_formed_in_float32(dtype):
    raw = draw(6, 4).to(dtype)
    raw[:, 2] *= 1e-5
    assert_near(wy.dense(raw), wy.dense(raw.float()), 24)
    normalize_reflectors_(raw)
    assert_near(raw[:, 2].float().norm(), torch.tensor(1.0), 2**40)


def test_second_derivatives_beside_a_zero_reflector():
    raw, x = draw(5, 3).tril(), draw(2, 5, seed=1)
    raw[:, 1] = 0

    def second(way):
        leaf = raw.clone().requires_grad_()
        (first,) = torch.autograd.grad(way.apply(leaf, x).pow(3).sum(), [leaf], create_graph=True)
        return torch.autograd.grad(first.square().sum(), [leaf])[0]

    assert_near(second(wy), second(reference), 100)
    assert not second(wy)[:, 1].any()


def test_non_contiguous_input():
    raw, x = draw(4, 6).mT, draw(6, 5, seed=1).mT
    assert_near(wy.apply(raw, x), reference.apply(raw.contiguous(), x.contiguous()), 24)


def test_gradcheck():
    raw, x = draw(4, 3).requires_grad_(), draw(2, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(wy.apply, (raw, x))
    assert torch.autograd.gradgradcheck(wy.apply, (raw, x))


@LAW
@given(n=st.integers(1, 20), data=st.data())
def test_reflectors_of_orthonormal_columns_give_them_back(n, data):
    k = data.draw(st.integers(1, n))
    q = torch.linalg.qr(draw(n, k, seed=n + k))[0]
    assert_near(wy.dense(reflectors_of(q, k))[:, :k], q, n * k)


def test_reflectors_of_the_identity_are_zero():
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.equal(reflectors_of(eye, 4), torch.zeros(4, 4, dtype=torch.float64))
    assert_near(wy.dense(reflectors_of(-eye, 4)), -eye, 16)


def test_near_the_identity_nothing_cancels():
    q = torch.linalg.matrix_exp(1e-9 * (draw(6, 6) - draw(6, 6).mT))
    assert_near(wy.dense(reflectors_of(q, 6)), q, 36)


def test_too_few_reflectors_are_refused():
    q = torch.linalg.qr(draw(5, 5))[0]
    with pytest.raises(ReflectorCountError, match="5 reach every"):
        reflectors_of(q, 2)
