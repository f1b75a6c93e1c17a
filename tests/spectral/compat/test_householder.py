"""Reflectors in the layouts of torch_householder, by its recorded results, and of LAPACK, by torch's functions."""

import json
from pathlib import Path

import pytest
import torch

from spectral.compat import from_householder, from_lapack, to_householder, to_lapack
from spectral.errors import RangeError, ShapeError
from spectral.householder import reference, wy
from tests.spectral.agreement import assert_near, draw

RECORD = Path(__file__).parents[2] / "data" / "torch_householder.json"  # make_torch_householder.py beside it made it
F64 = torch.float64
shapes = pytest.mark.parametrize("shape", [(1, 1), (5, 2), (4, 4), (2, 6, 3), (3, 0)])


def recorded():
    """Return (param, tau, result) of every case: what the real torch_householder_orgqr returned."""
    cases = json.loads(RECORD.read_text())
    return [[None if case[key] is None else torch.tensor(case[key], dtype=F64) for key in case] for case in cases]


def of_torch_householder(param):
    """Compute ``torch_householder_orgqr(param)`` by its definition, column entries above the diagonal included."""
    n, m = param.shape[-2:]
    columns = torch.eye(m, n, dtype=param.dtype).expand(*param.shape[:-2], m, n)
    for j in reversed(range(m)):
        columns = reference.reflect(param[..., j], columns)
    return columns.mT


@pytest.mark.parametrize(("param", "tau", "result"), recorded())
def test_reflectors_from_torch_householder_have_its_product(param, tau, result):
    n, m = param.shape[-2:]
    raw = from_householder(param, tau)
    assert_near(wy.dense(raw, m), result, 4 * n * m)
    if tau is None:
        assert_near(of_torch_householder(param), result, 4 * n * m)


def test_a_lower_trapezoid_is_copied_as_it_is():
    param = 3 * draw(6, 4).tril()
    raw = from_householder(param)
    assert torch.equal(raw, param)
    raw.zero_()
    assert param.any()


@shapes
def test_torch_householder_makes_the_same_product_of_ours(shape):
    raw = 2 * draw(*shape)  # with entries above the diagonal, which count there and not here
    param = to_householder(raw)
    n, m = shape[-2:]
    assert_near(of_torch_householder(param), wy.dense(raw, m), 4 * n * n)
    assert torch.equal(param.tril(), param)
    assert_near(wy.dense(from_householder(param)), wy.dense(raw), 4 * n * n)


def test_a_zero_reflector_stays_the_identity_in_every_layout():
    raw = draw(5, 3).tril()
    raw[:, 1] = 0
    expected = wy.dense(raw)
    assert not to_householder(raw)[:, 1].any()
    a, tau = to_lapack(raw)
    assert tau[1] == 0
    assert_near(torch.linalg.householder_product(a, tau), expected[:, :3], 60)
    assert_near(wy.dense(from_lapack(a, tau)), expected, 60)


@shapes
def test_lapack_makes_the_same_product_of_ours(shape):
    raw = draw(*shape)
    a, tau = to_lapack(raw)
    n, m = shape[-2:]
    assert_near(torch.linalg.householder_product(a, tau), wy.dense(raw, m), 40 * n * n)
    assert (a.diagonal(dim1=-2, dim2=-1) == 1).all()
    square = torch.eye(n, dtype=F64).expand(*shape[:-2], n, n).contiguous()
    assert_near(torch.ormqr(a, tau, square), wy.dense(raw), 40 * n * n)  # the whole product, not m columns alone


def test_the_reflectors_of_a_qr_decomposition():
    a, tau = torch.geqrf(draw(6, 4))  # with R on and above the diagonal, which is ignored
    assert_near(wy.dense(from_lapack(a, tau), 4), torch.linalg.householder_product(a, tau), 60)


def test_float32_and_gradients():
    param = torch.nn.Parameter(draw(5, 3).float())
    for made in (from_householder(param), to_householder(param), *to_lapack(param)):
        assert made.dtype == torch.float32
        assert not made.requires_grad
    assert_near(wy.dense(from_householder(param), 3), of_torch_householder(param.detach()), 100)


def test_what_lapack_cannot_hold_is_refused():
    raw = torch.eye(4, 2, dtype=F64)
    raw[:, 1] = torch.tensor([0, 0, 1, 0])
    with pytest.raises(RangeError, match="Use to_householder"):
        to_lapack(raw)
    tiny = torch.tensor([[1e-30], [1.0]])
    with pytest.raises(RangeError, match="too small"):
        to_lapack(tiny)
    assert_near(of_torch_householder(to_householder(raw)), wy.dense(raw, 2), 16)


def test_what_is_refused():
    for convert in (from_householder, to_householder, to_lapack):
        with pytest.raises(ShapeError, match=r"m <= n; found \(2, 3\)"):
            convert(draw(2, 3))
    with pytest.raises(ShapeError, match="m <= n"):
        from_lapack(draw(3), draw(1))
    with pytest.raises(ShapeError, match="tau must have shape"):
        from_householder(draw(4, 2), draw(3))
    with pytest.raises(RangeError, match="away from 2"):
        from_householder(draw(4, 2), torch.ones(2, dtype=F64))
    with pytest.raises(RangeError, match="away from 2"):
        from_householder(draw(4, 2), torch.full((2,), float("nan"), dtype=F64))
