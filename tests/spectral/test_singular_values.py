"""The maps of singular values at the borders of their bands, of numbers, and of torch's tools."""

import math
import warnings

import pytest
import torch

from spectral import SVD, SpectralLinear, SpectralRNN, singular_map
from spectral.errors import BandError, RangeError
from spectral.singular_values import Band, inverse_singular_map, map_into
from tests.spectral.agreement import assert_near, draw, generator

F64 = torch.float64
bounded = pytest.mark.parametrize("spectrum", ["sigmoid", "clip"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, F64])


def scalar(value, dtype=F64):
    return torch.tensor(value, dtype=dtype)


def mapped(kind, raw, sigma=1.0, margin=0.1):
    return singular_map(kind, raw, scalar(sigma, raw.dtype), scalar(margin, raw.dtype), raw.shape[-1])


def slope(p, margin):
    """Return the slope of the sigmoid map by its formula, in float64."""
    e = math.exp(-abs(p))
    return 2 * margin * e / (1 + e) ** 2


@dtypes
@pytest.mark.parametrize(("sigma", "margin"), [(1.0, 0.1), (0.0, 0.3), (0.5, 1.0), (1.0, 1.0), (2.0, 1e-3)])
def test_the_slope_keeps_its_relative_accuracy_however_saturated(sigma, margin, dtype):
    points = [-80.0, -30.0, -17.0, -1.0, -0.5, -1e-6, 0.0, 1e-6, 0.5, 1.0, 17.0, 30.0, 80.0]
    raw = torch.tensor(points, dtype=dtype, requires_grad=True)
    (found,) = torch.autograd.grad(mapped("sigmoid", raw, sigma, margin).sum(), [raw])
    expected = torch.tensor([slope(float(p), margin) for p in raw.detach()], dtype=dtype)
    # The exponential of a rounded -p is off by p eps, relative.
    assert ((found - expected).abs() <= 200 * torch.finfo(dtype).eps * expected).all()
    assert (found > 0).all()


@dtypes
@pytest.mark.parametrize(("sigma", "margin"), [(1.0, 0.1), (0.3, 0.2), (1.0, 0.7), (0.0, 0.3), (1.0, 1.0)])
def test_raw_zero_is_exactly_sigma_with_slope_half_the_margin(sigma, margin, dtype):
    raw = torch.zeros(3, dtype=dtype, requires_grad=True)
    values = mapped("sigmoid", raw, sigma, margin)
    assert torch.equal(values, torch.full((3,), sigma, dtype=dtype))
    (found,) = torch.autograd.grad(values.sum(), [raw])
    assert_near(found, torch.full((3,), margin / 2, dtype=dtype), 4)


def test_small_values_around_a_centre_of_zero_keep_their_relative_accuracy():
    raw = torch.tensor([-1e-20, 1e-9, 1e-4, -0.3])
    expected = 0.5 * torch.tanh(raw.double() / 2)
    found = mapped("sigmoid", raw, 0.0, 0.5)
    assert ((found.double() - expected).abs() <= 1e-6 * expected.abs()).all()


def test_a_band_that_ends_at_zero_keeps_the_relative_accuracy_of_small_values():
    raw = torch.tensor([-17.0, -40.0, -80.0])
    expected = 2 * torch.sigmoid(raw.double())
    assert ((mapped("sigmoid", raw, 1.0, 1.0).double() - expected).abs() <= 1e-5 * expected).all()


@bounded
@dtypes
def test_no_raw_value_leaves_the_band(spectrum, dtype):
    raw = torch.tensor([-math.inf, -1e30, -20.0, -1e-30, 0.0, 3.0, 1e30, math.inf], dtype=dtype)
    for sigma, margin in [(1.0, 0.1), (0.0, 0.3), (0.5, 1.0), (1.0, 1.0)]:
        values = mapped(spectrum, raw, sigma, margin)
        low, high = scalar(sigma, dtype) - scalar(margin, dtype), scalar(sigma, dtype) + scalar(margin, dtype)
        assert ((values >= low) & (values <= high)).all()
        assert mapped(spectrum, torch.tensor([math.nan], dtype=dtype), sigma, margin).isnan().all()


def test_a_saturated_value_comes_back_by_gradient_descent():
    svd = SVD(4, 4, margin=0.5, generator=generator())
    with torch.no_grad():
        svd.singular.copy_(torch.tensor([20.0, -20.0, 18.0, -25.0]))
    optimizer = torch.optim.Adam([svd.singular], lr=0.5, eps=1e-20)
    for _ in range(100):
        optimizer.zero_grad()
        (svd.singular_values() - 1).square().sum().backward()
        optimizer.step()
    assert (svd.singular_values() - 1).abs().max() < 0.4


@bounded
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch's forward mode uses it
def test_under_the_transforms_of_torch_func(spectrum):
    raw = torch.tensor([0.3, 0.97, 1.0, 1.04, 1.5], dtype=F64)
    weight = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0], dtype=F64)

    def loss(raw):
        return (mapped(spectrum, raw).pow(3) * weight).sum()

    leaf = raw.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf), [leaf], create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), [leaf])
    assert_near(torch.func.grad(loss)(raw), first, 16)
    both = torch.func.vmap(torch.func.grad(loss))(torch.stack([raw, raw.flip(0)]))
    assert_near(both[0], first, 16)
    assert_near(torch.func.grad(lambda raw: torch.func.grad(loss)(raw).sum())(raw), second, 16)
    _, tangent = torch.func.jvp(loss, (raw,), (torch.ones_like(raw),))
    inside = slice(1, 4) if spectrum == "clip" else slice(None)  # a clamp has the tangent 0 outside its bounds
    assert_near(tangent, first[inside].sum(), 16)
    assert_near(torch.func.jacfwd(loss)(raw)[inside], first[inside], 16)


@bounded
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch does so itself
def test_under_compile_without_a_graph_break(spectrum):
    raw = torch.tensor([[0.3, 0.97, 20.0], [1.04, -1.5, 0.0]], dtype=F64)
    sigma, margin = torch.tensor([1.0, 0.0], dtype=F64), torch.tensor([0.1, 0.2], dtype=F64)

    def value_and_gradient(function):
        leaf = raw.clone().requires_grad_()
        values = function(leaf)
        return values.detach(), torch.autograd.grad(values.square().sum(), [leaf])[0]

    def plain(raw):
        return singular_map(spectrum, raw, sigma, margin, 3)

    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager")
    for found, expected in zip(value_and_gradient(compiled), value_and_gradient(plain), strict=True):
        assert_near(found, expected, 16)


def test_a_clipped_value_is_led_back_and_not_further_away():
    raw = torch.tensor([2.0, 2.0, 0.0, 0.0, 1.0], dtype=F64, requires_grad=True)
    weight = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0], dtype=F64)
    (grad,) = torch.autograd.grad((mapped("clip", raw) * weight).sum(), [raw])
    assert grad.tolist() == [1.0, 0.0, 0.0, -1.0, 1.0]


@dtypes
@bounded
@pytest.mark.parametrize("raw", [40.0, -40.0])
def test_a_matrix_at_the_edge_can_be_set_to_itself(spectrum, dtype, raw):
    layer = SpectralLinear(6, 6, margin=0.1, spectrum=spectrum, dtype=dtype, generator=generator())
    with torch.no_grad():
        layer.svd.singular.fill_(raw)
    before = layer.weight.detach()
    for _ in range(3):
        layer.weight = layer.weight.detach()
    assert_near(layer.weight, before, 10_000)
    assert layer.svd.singular.isfinite().all()
    (grad,) = torch.autograd.grad(layer.singular_values().sum(), [layer.svd.singular])
    assert (grad > 0).all()


@bounded
def test_a_matrix_in_a_band_as_thin_as_rounding_is_taken(spectrum):
    with pytest.warns(UserWarning, match="numbers lie in the band"):
        svd = SVD(8, 8, margin=1e-7, spectrum=spectrum, generator=generator())
    with pytest.warns(UserWarning, match="numbers lie in the band"):
        again = SVD.from_dense(svd.dense().detach(), margin=1e-7, spectrum=spectrum)
    assert_near(again.dense(), svd.dense(), 10_000)


@bounded
def test_outside_the_band_by_more_than_rounding_is_refused(spectrum):
    sigma, margin = scalar(1.0, torch.float32), scalar(0.1, torch.float32)
    values = torch.tensor([1.1 + 100 * 2**-23, 0.95])
    with pytest.raises(BandError, match="would include them all"):
        inverse_singular_map(spectrum, values, sigma, margin)
    raw = inverse_singular_map(spectrum, torch.tensor([1.1 + 20 * 2**-23, 0.9]), sigma, margin)
    assert_near(singular_map(spectrum, raw, sigma, margin, 2), torch.tensor([1.1, 0.9]), 4)


def test_the_inverse_keeps_small_values_at_both_kinds_of_zero():
    small = torch.tensor([1e-6, 3e-4, 0.2])
    for sigma, margin in [(0.0, 1.0), (1.0, 1.0)]:
        centre, r = scalar(sigma, torch.float32), scalar(margin, torch.float32)
        raw = inverse_singular_map("sigmoid", small, centre, r)
        found = singular_map("sigmoid", raw, centre, r, 3)
        assert ((found - small).abs() <= 1e-5 * small).all()


@bounded
def test_a_margin_below_the_rounding_of_the_dtype_is_refused(spectrum):
    with pytest.raises(RangeError, match=r"margin 1e-08 is less than the rounding of torch\.float32 at sigma 1"):
        SVD(3, 3, margin=1e-8, spectrum=spectrum)
    with pytest.raises(RangeError, match=r"margin 1e-08"):
        SpectralRNN(2, 3, reflectors=2, margin=1e-8, spectrum=spectrum)
    with pytest.raises(RangeError, match=r"margin 1e-17 .* torch\.float64"):
        SVD(3, 3, margin=1e-17, spectrum=spectrum, dtype=F64)
    wide = SVD(3, 3, margin=1e-8, spectrum=spectrum, dtype=F64)
    with pytest.raises(RangeError, match=r"torch\.float32"):
        wide.float()
    assert wide.reflectors_u.dtype == F64


def test_a_margin_with_few_numbers_warns_and_a_wider_one_does_not():
    with pytest.warns(UserWarning, match="only about 8 numbers"):
        SpectralRNN(2, 3, num_layers=2, reflectors=2, margin=5e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SVD(3, 3, margin=1e-6)
        SVD(3, 3, margin=1e-12, sigma=0.0)
        SVD(3, 3, margin=5e-7, dtype=F64)
        for unbounded in ("penalty", "fixed"):
            SVD(3, 3, margin=1e-30, spectrum=unbounded)


@pytest.mark.parametrize("spectrum", ["sigmoid", "clip", "penalty", "fixed"])
def test_a_band_made_for_trials_is_that_of_its_numbers(spectrum):
    raw = draw(3, 5)
    sigmas, margins = [1.0, 0.0, 0.5], [0.3, 0.2, 0.5]
    band = Band.of_trials(sigmas, margins, single=False, device=raw.device, dtype=F64)
    raw = None if spectrum == "fixed" else raw
    found = map_into(spectrum, raw, band, 5)
    for k in range(3):
        alone = Band.of_trials(sigmas[k : k + 1], margins[k : k + 1], single=True, device=band.sigma.device, dtype=F64)
        assert torch.equal(found[k], map_into(spectrum, None if raw is None else raw[k], alone, 5))
    assert torch.equal(found, singular_map(spectrum, raw, scalar(sigmas), scalar(margins), 5))
