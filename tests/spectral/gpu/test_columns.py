"""The Triton kernels of singular values and of the lengths of reflectors, in the interpreter."""

import pytest
import torch

from spectral import singular_values
from spectral.gpu import columns, device
from spectral.householder.wy import normalize_all_reflectors_, normalize_reflectors_
from spectral.singular_values import ON_GPU, Band, map_into
from tests.spectral.agreement import NO_TRITON, assert_near, draw

pytestmark = NO_TRITON
bounded = pytest.mark.parametrize("kind", ["sigmoid", "clip"])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
POINTS = [-torch.inf, -95.0, -80.0, -17.0, -1.0, -1e-30, -0.0, 0.0, 1e-6, 0.3, 0.95, 1.04, 20.0, 80.0, 1e30, torch.nan]
BANDS = [(1.0, 0.1), (0.5, 1.0), (1.0, 1.0), (2.0, 1e-3)]


def band_of(dtype, *bands):
    sigma, margin = (torch.tensor(each, dtype=dtype) for each in zip(*bands, strict=True))
    if len(bands) == 1:
        sigma, margin = sigma[0], margin[0]
    return Band.of(sigma, margin)._replace(centred_at_zero=None)


def on_gpu(raw, band, kind):
    return ON_GPU(raw, band.sigma, band.low, band.high, band.width, band.start, band.share, kind)


@bounded
@dtypes
@pytest.mark.parametrize("packed", [False, True])
def test_values_and_slopes_are_those_of_the_definition(kind, dtype, packed):
    cases = [BANDS] if packed else [[one] for one in BANDS]
    for bands in cases:
        band, shape = band_of(dtype, *bands), (len(bands), 1) if packed else (1,)
        raw = torch.tensor(POINTS, dtype=dtype).repeat(shape).requires_grad_()
        weight = torch.tensor([1.0, -1.0, 2.0], dtype=dtype).repeat(raw.numel())[: raw.numel()].view_as(raw)
        found, expected = on_gpu(raw, band, kind), map_into(kind, raw, band, len(POINTS))
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(found, expected, rtol=2 * eps, atol=0, equal_nan=True)
        slopes = [torch.autograd.grad(values, raw, weight)[0] for values in (found, expected)]
        torch.testing.assert_close(*slopes, rtol=8 * eps, atol=1e-44, equal_nan=True)


@dtypes
def test_raw_zero_is_exactly_sigma_and_no_value_leaves_the_band(dtype):
    band, raw = band_of(dtype, *BANDS), torch.tensor(POINTS[:-1], dtype=dtype).repeat(len(BANDS), 1)
    values = on_gpu(raw, band, "sigmoid")
    assert ((values >= band.low) & (values <= band.high)).all()
    assert torch.equal(values[:, 6:8], band.sigma.expand(-1, 2))


@bounded
def test_derivatives_of_every_kind(kind):
    band = band_of(torch.float64, (1.0, 0.1))
    raw = torch.tensor([0.3, 0.97, 1.0, 1.04, -1.5], dtype=torch.float64)
    inside = slice(1, 4) if kind == "clip" else slice(None)  # beyond its edges a clamp has a gradient by its direction

    def run(raw):
        return on_gpu(raw, band, kind)

    given = raw[inside].clone().requires_grad_()
    assert torch.autograd.gradcheck(run, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(run, given)
    many = torch.stack([raw, raw.flip(0)])
    assert torch.equal(torch.func.vmap(run)(many), torch.stack([run(one) for one in many]))
    pack = band_of(torch.float64, (1.0, 0.1), (0.5, 0.2))
    over = torch.func.vmap(lambda raw: on_gpu(raw, pack, kind))(torch.stack([many, -many]))
    assert torch.equal(over[1], on_gpu(-many, pack, kind))


@bounded
def test_it_is_one_launch_each_way_where_it_can_be(kind, monkeypatch):
    calls, launch = [], device.launch

    def counted(name, *arguments, **options):
        calls.append(name)
        launch(name, *arguments, **options)

    monkeypatch.setattr(device, "launch", counted)
    monkeypatch.setattr(device, "runs", lambda *_: True)
    raw = draw(2, 5).requires_grad_()
    map_into(kind, raw, band_of(torch.float64, (1.0, 0.1), (0.5, 0.2)), 5).sum().backward()
    assert calls == ["columns_kernels.singular_map", "columns_kernels.singular_map_backward"]
    singular_values.singular_map(kind, raw, torch.zeros(2).double(), torch.ones(2).double(), 5)
    assert len(calls) == 2, "a centre of 0 needs torch's tanh"


SHAPES = [(7, 3), (3, 70, 17), (2, 5, 5), (4, 2, 0), (1, 1, 1), *[(9, 2)] * 4]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_columns_get_length_one_in_one_launch(dtype, monkeypatch):
    calls, launch = [], device.launch

    def counted(name, *arguments, **options):
        calls.append(name)
        launch(name, *arguments, **options)

    raws = [draw(*shape, seed=k).to(dtype) for k, shape in enumerate(SHAPES)]
    raws[0] *= 1e-30
    raws[1] *= 1e30
    raws[1][1, :, 4] = 0
    expected = [raw.clone() for raw in raws]
    for raw in expected:
        normalize_reflectors_(raw)
    monkeypatch.setattr(device, "launch", counted)
    monkeypatch.setattr(columns, "normalizes", lambda raw: True)
    normalize_all_reflectors_(raws)
    for found, wanted in zip(raws, expected, strict=True):
        assert found.dtype == dtype
        if dtype == torch.bfloat16:
            assert ((found - wanted).abs() <= 2**-8).all()  # a last place of numbers up to 1
        else:
            assert_near(found, wanted, 70)
    assert not raws[1][1, :, 4].any()
    assert calls == ["columns_kernels.normalize"], "one launch takes eight arrays"


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_finite_shows_in_its_column_alone():
    raw = draw(2, 6, 4).float()
    whole = raw.clone()
    columns.normalize_([whole])
    raw[1, 2, 1], raw[1, 3, 2] = torch.nan, torch.inf
    columns.normalize_([raw])
    assert raw[1, :, 1:3].isnan().all()
    assert torch.equal(raw[0], whole[0])
    assert torch.equal(raw[1, :, ::3], whole[1, :, ::3])
