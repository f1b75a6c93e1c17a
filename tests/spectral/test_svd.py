import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral import SVD
from spectral.errors import BandError, OptionError, PackError, RangeError, ReflectorCountError, ShapeError
from spectral.singular_values import SPECTRA, inverse_singular_map, singular_map
from tests.spectral.agreement import LAW, assert_near, draw, generator, gradients

F64 = torch.float64
bounded = pytest.mark.parametrize("spectrum", ["sigmoid", "clip"])


def svd(rows, cols, seed=0, **options):
    made = SVD(rows, cols, dtype=F64, generator=generator(seed), **options)
    if made.singular is not None:
        with torch.no_grad():
            made.singular += 0.1 * draw(min(rows, cols), seed=seed + 1)
    return made


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 4), (4, 1), (5, 5), (3, 6), (6, 3)])
def test_apply_transpose_and_dense_agree(rows, cols, spectrum):
    matrix = svd(rows, cols, reflectors=(min(rows, cols), max(0, min(rows, cols) - 1)), spectrum=spectrum)
    w, x, y = matrix.dense(), draw(2, 3, cols), draw(2, 3, rows, seed=1)
    assert w.shape == (rows, cols)
    assert_near(matrix(x), x @ w.mT, rows * cols)
    assert_near(matrix.transposed(y), y @ w, rows * cols)
    assert_near(torch.linalg.svdvals(w), matrix.singular_values().abs().sort(descending=True)[0], rows * cols)


@LAW
@given(n=st.integers(1, 12), data=st.data())
def test_inverse_undoes_apply_and_log_det_is_the_dense_one(n, data):
    matrix = svd(n, n, reflectors=(data.draw(st.integers(0, n)), data.draw(st.integers(0, n))), margin=0.5)
    x = draw(3, n, seed=4)
    assert_near(matrix.solve(matrix(x)), x, 4 * n * n)
    assert_near(matrix.logabsdet(), torch.linalg.slogdet(matrix.dense())[1] + 0.0, 4 * n * n)


def test_vectors_may_be_one_none_or_many():
    matrix = svd(4, 3)
    assert matrix(draw(3)).shape == (4,)
    assert matrix(draw(0, 3)).shape == (0, 4)
    assert matrix(draw(2, 0, 3)).shape == (2, 0, 4)


@bounded
def test_singular_values_stay_in_the_band_after_any_steps(spectrum):
    matrix = svd(6, 6, margin=0.05, spectrum=spectrum)
    optimizer = torch.optim.SGD(matrix.parameters(), lr=100.0)
    for step in range(5):
        optimizer.zero_grad()
        ((-1) ** step * matrix(draw(4, 6, seed=step)).square().sum()).backward()
        optimizer.step()
        sigma = matrix.singular_values()
        assert ((sigma >= 1 - 0.05) & (sigma <= 1 + 0.05)).all()
        found = torch.linalg.svdvals(matrix.dense())
        assert (found - 1).abs().max() <= 0.05 + 1e-13


@pytest.mark.parametrize("spectrum", ["sigmoid", "clip", "penalty"])
def test_the_map_has_an_inverse(spectrum):
    sigma, margin = torch.tensor([1.0, 0.5], dtype=F64), torch.tensor([0.1, 0.4], dtype=F64)
    values = sigma[:, None] + 0.9 * margin[:, None] * torch.tanh(draw(2, 5))
    raw = inverse_singular_map(spectrum, values, sigma, margin)
    assert_near(singular_map(spectrum, raw, sigma, margin, 5), values, 16)


def test_the_penalty():
    matrix = SVD(3, 3, spectrum="penalty", dtype=F64, generator=generator())
    with torch.no_grad():
        matrix.singular.copy_(torch.tensor([1.0, 3.0, 0.0]))
    assert matrix.penalty().item() == 5.0


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (5, 5), (3, 6), (6, 3), (1, 5)])
@pytest.mark.parametrize("spectrum", ["sigmoid", "clip", "penalty"])
def test_from_dense_and_back(rows, cols, spectrum):
    w = 0.2 * draw(rows, cols, seed=rows)
    made = SVD.from_dense(w, margin=1.0, sigma=0.9, spectrum=spectrum)
    assert_near(made.dense(), w, 4 * rows * cols)


def test_from_dense_of_awkward_matrices():
    eye = torch.eye(4, dtype=F64)
    for w in (eye, -eye, eye.flip(0), torch.zeros(4, 4, dtype=F64)):
        made = SVD.from_dense(w, spectrum="penalty")
        assert_near(made.dense(), w, 64)
    orthogonal = torch.linalg.qr(draw(4, 4))[0]
    assert_near(SVD.from_dense(orthogonal, spectrum="fixed").dense(), orthogonal, 64)


def test_from_dense_says_which_margin_would_hold():
    w = torch.diag(torch.tensor([1.2, 0.9], dtype=F64))
    with pytest.raises(BandError, match=r"margin=0\.2002 would include them all"):
        SVD.from_dense(w, margin=0.1)
    assert_near(SVD.from_dense(w, margin=0.2002).dense(), w, 16)
    with pytest.raises(BandError, match="no margin up to 1"):
        SVD.from_dense(5 * w)
    with pytest.raises(ReflectorCountError, match="4 reach every"):
        SVD.from_dense(draw(4, 4), reflectors=1, spectrum="penalty")


def test_a_pack_does_what_each_trial_does_alone():
    options = [{"reflectors": 2, "margin": 0.1}, {"reflectors": (4, 0), "margin": 0.5, "sigma": 0.7}]
    trials = [SVD(5, 4, dtype=F64, generator=generator(k), **o) for k, o in enumerate(options)]
    pack = SVD.pack(trials)
    x = draw(2, 3, pack.cols, seed=5)
    found = pack(x)
    names = [name for name, _ in pack.named_parameters()]
    grads = dict(zip(names, gradients(found, list(pack.parameters())), strict=True))
    weight = draw(*found.shape, seed=9)
    for k, trial in enumerate(trials):
        alone = trial(x[k])
        assert_near(found[k], alone, 400)
        again = pack.trial(k)
        for name, parameter in trial.named_parameters():
            (grad,) = torch.autograd.grad((alone * weight[k]).sum(), [parameter], retain_graph=True)
            packed = grads[name][k]
            assert_near(packed[..., : grad.shape[-1]], grad, 400, name)
            assert not packed[..., grad.shape[-1] :].any()
            assert torch.equal(dict(again.named_parameters())[name], parameter)
    assert pack.dense().shape == (2, pack.rows, pack.cols)
    assert_near(pack.dense()[1], trials[1].dense(), 100)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_the_log_determinant_of_a_band_that_ends_at_zero_has_a_finite_slope(dtype):
    """Each log sigma_i is log 2 + log sigmoid(p), with the slope sigmoid(-p), in a pack beside another band too."""
    points = [-300.0, -100.0, -17.0, 0.0, 17.0, 80.0]
    single = SVD(6, 6, margin=1.0, dtype=dtype, generator=generator())
    other = SVD(6, 6, margin=0.5, dtype=dtype, generator=generator())
    with torch.no_grad():
        single.singular.copy_(torch.tensor(points))
    expected = sum(math.log(2) - (-p if p < -50 else math.log1p(math.exp(-p))) for p in points)
    slopes = torch.tensor([1 / (1 + math.exp(p)) for p in points], dtype=dtype)
    for svd, found in ((single, single.logabsdet()), (pack := SVD.pack([single, other]), None)):
        found = pack.logabsdet()[0] if found is None else found
        assert_near(found, torch.tensor(expected, dtype=dtype), 100)
        (grad,) = torch.autograd.grad(svd.logabsdet().sum(), [svd.singular])
        assert ((grad.view(-1, 6)[0] - slopes).abs() <= 200 * torch.finfo(dtype).eps * slopes).all()
        assert grad.isfinite().all()
    assert_near(pack.logabsdet()[1], other.logabsdet(), 16)


@pytest.mark.parametrize("reflectors", [0, 3])
def test_solving_with_a_singular_value_of_zero_is_the_limit(reflectors):
    """Entries along a lost direction are infinite; without reflectors the others are finite; none is nan."""
    svd = SVD(3, 3, reflectors=reflectors, spectrum="penalty", dtype=F64, generator=generator())
    with torch.no_grad():
        svd.singular.copy_(torch.tensor([2.0, 0.0, 0.5]))
    y = draw(4, 3, seed=2)
    found = svd.solve(y)
    with torch.no_grad():
        svd.singular[1] = 1e-9
    near = svd.solve(y)
    assert not found.isnan().any()
    infinite = found.isinf()
    assert infinite.any(-1).all()
    assert torch.equal(found[infinite].sign(), near[infinite].sign())
    if reflectors == 0:
        assert torch.equal(found[:, [0, 2]], y[:, [0, 2]] / torch.tensor([2.0, 0.5], dtype=F64))
        assert torch.equal(found[:, 1], torch.inf * y[:, 1].sign())
    else:
        assert infinite.all()


def test_solving_a_vector_that_has_no_part_along_the_lost_direction_is_finite():
    svd = SVD(3, 3, reflectors=0, spectrum="penalty", dtype=F64)
    with torch.no_grad():
        svd.singular.copy_(torch.tensor([2.0, 0.0, 0.5]))
    y = torch.tensor([[1.0, 0.0, 1.0], [torch.nan, 1.0, 1.0]], dtype=F64)
    found = svd.solve(y)
    assert found[0].tolist() == [0.5, 0.0, 2.0]
    assert found[1].isnan().any()
    (grad,) = torch.autograd.grad(svd.solve(y[:1]).sum(), [svd.singular])
    assert grad.tolist() == [-0.25, 0.0, -4.0]


@pytest.mark.parametrize(("margin", "spectrum"), [(0.5, "sigmoid"), (1.0, "sigmoid"), (1.0, "penalty"), (1.0, "clip")])
def test_solving_has_the_gradients_of_the_dense_inverse(margin, spectrum):
    matrix, y = svd(4, 4, margin=margin, spectrum=spectrum), draw(2, 4, seed=3)
    found = gradients(matrix.solve(y), list(matrix.parameters()))
    expected = gradients(torch.linalg.solve(matrix.dense(), y.mT).mT, list(matrix.parameters()))
    for f, e in zip(found, expected, strict=True):
        assert_near(f, e, 10_000)


def test_gradcheck():
    matrix = svd(4, 3, margin=0.3)

    def dense(u, v, p):
        return torch.func.functional_call(matrix, {"reflectors_u": u, "reflectors_v": v, "singular": p}, (draw(2, 3),))

    assert torch.autograd.gradcheck(dense, tuple(matrix.parameters()))


def test_what_is_refused():
    with pytest.raises(RangeError, match="spectrum='fixed'"):
        SVD(3, 3, margin=0.0)
    for margin in (-0.1, 1.5, float("nan")):
        with pytest.raises(RangeError, match=r"margin must lie in \(0, 1\]"):
            SVD(3, 3, margin=margin)
    with pytest.raises(RangeError, match="sigma"):
        SVD(3, 3, sigma=float("inf"))
    with pytest.raises(ReflectorCountError, match=r"reflectors must be .* from 0 to 3.* found m1 = 4"):
        SVD(3, 5, reflectors=4)
    with pytest.raises(ReflectorCountError, match=r"reflectors must be .* found m2 = -1"):
        SVD(3, 5, reflectors=(1, -1))
    with pytest.raises(OptionError, match="spectrum must be one of"):
        SVD(3, 3, spectrum="free")
    with pytest.raises(ReflectorCountError, match="square"):
        SVD(3, 4, init="identity")
    with pytest.raises(ShapeError, match=r"\(\.\.\., 4\); found \(2, 3\)"):
        SVD(3, 4, generator=generator())(torch.zeros(2, 3))
    with pytest.raises(ShapeError, match="only a square matrix"):
        SVD(3, 4, generator=generator()).solve(torch.zeros(2, 3))
    with pytest.raises(PackError, match="agree in rows"):
        SVD.pack([SVD(3, 4, generator=generator()), SVD(4, 4, generator=generator())])
    with pytest.raises(PackError, match="not a pack"):
        SVD(3, 4, generator=generator()).trial(0)
