import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral.errors import ReflectorCountError
from spectral.householder import reference, wy
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
    raw = draw(5, 2)
    raw[:, 1] = torch.nan
    assert way.dense(raw).isnan().any()


def test_length_does_not_matter():
    raw = draw(6, 3)
    assert_near(wy.dense(raw * torch.tensor([1e-12, 1.0, 1e12], dtype=raw.dtype)), wy.dense(raw), 18)


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
