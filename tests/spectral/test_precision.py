"""Autocast, half precision, complex numbers and mismatched dtypes, for matrices, layers and parametrized weights."""

import copy

import pytest
import torch
from torch import nn

from spectral import SVD, SpectralGRU, SpectralLinear, SpectralRNN, spectral_svd
from spectral.errors import OptionError, ShapeError
from tests.spectral.agreement import assert_near, generator

F64 = torch.float64
HALVES = [torch.bfloat16, torch.float16]
halves = pytest.mark.parametrize("half", HALVES)
EPS = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10}


def inputs(*shape, seed=3):
    return torch.randn(*shape, generator=generator(seed))


def layer(in_features=16, out_features=12, **options):
    return SpectralLinear(in_features, out_features, generator=generator(), margin=0.3, **options)


def assert_close(found, expected, half, roundings=6):
    """Compare up to the rounding of a few operations in half precision, relative to the largest entry."""
    error = (found.detach().to(expected.dtype) - expected.detach()).abs().max()
    assert float(error) <= roundings * EPS[half] * float(expected.detach().abs().max())


@halves
@pytest.mark.parametrize("x_dtype", ["float32", "half"])
def test_a_layer_under_autocast_returns_what_torchs_does(half, x_dtype):
    made, x = layer(), inputs(4, 16)
    torchs = made.to_linear()
    x = x.to(half) if x_dtype == "half" else x
    with torch.autocast("cpu", half):
        found, expected = made(x), torchs(x)
    assert found.dtype == expected.dtype == half
    assert_close(found, made(x.float()), half)
    weight = inputs(4, 12, seed=5)
    (found.float() * weight).sum().backward()
    grads = {name: p.grad.clone() for name, p in made.named_parameters()}
    made.zero_grad()
    (made(x.float()) * weight).sum().backward()
    for name, p in made.named_parameters():
        assert grads[name].dtype == torch.float32
        assert_close(grads[name], p.grad, half, roundings=16)


@halves
def test_every_method_of_a_matrix_runs_under_autocast(half):
    svd, x = SVD(8, 8, margin=0.3, generator=generator()), inputs(3, 8)
    plain = [svd(x), svd.transposed(x), svd.solve(x)]
    with torch.autocast("cpu", half):
        products = [svd(x), svd.transposed(x), svd.solve(x)]
        assert svd.dense().dtype == svd.singular_values().dtype == svd.logabsdet().dtype == torch.float32
        formed = svd.dense()
        svd.set_dense(formed)
    assert torch.equal(formed, SVD(8, 8, margin=0.3, generator=generator()).dense()), "formed in float32"
    assert_near(svd.dense(), formed, 1000)
    for found, expected in zip(products, plain, strict=True):
        assert found.dtype == half
        assert_close(found, expected, half)


@halves
def test_a_pack_of_layers_under_autocast(half):
    pack, x = SpectralLinear.pack([layer(), layer(reflectors=2)]), inputs(2, 4, 16)
    with torch.autocast("cpu", half):
        found = pack(x)
    assert found.dtype == half
    assert_close(found, pack(x), half)


def test_float64_under_autocast_stays_as_torchs_layer_leaves_it():
    made = layer(dtype=F64)
    x = inputs(4, 16).double()
    with torch.autocast("cpu", torch.bfloat16):
        assert made(x).dtype == made.to_linear()(x).dtype == F64
        assert_near(made(x), x @ made.weight.mT + made.bias, 1000)
        assert layer()(x).dtype == torch.bfloat16


@halves
def test_a_layer_in_half_precision_has_factors_in_float32(half):
    made, x = layer().to(half), inputs(4, 16).to(half)
    in_float32 = copy.deepcopy(made).float()
    assert made(x).dtype == made.weight.dtype == half
    assert made.singular_values().dtype == made.svd.penalty().dtype == torch.float32
    assert torch.equal(made.weight, in_float32.weight.to(half))
    assert torch.equal(made.svd(x), in_float32.svd(x.float()).to(half))
    made(x).float().square().sum().backward()
    assert all(p.grad.dtype == half and p.grad.isfinite().all() for p in made.parameters())
    made.normalize_()
    assert_close(made(x), in_float32(x.float()), half)
    pack = SpectralLinear.pack([made, made])
    assert torch.equal(pack(torch.stack([x, x]))[1], made(x))
    square = SVD(6, 6, dtype=half, generator=generator(), margin=1.0)
    y = inputs(2, 6).to(half)
    assert square.solve(square(y)).dtype == half
    assert square.logabsdet().isfinite()


@halves
@pytest.mark.parametrize("spectrum", ["sigmoid", "clip"])
def test_a_weight_in_half_precision_can_be_set_to_itself(half, spectrum):
    made = layer(spectrum=spectrum, dtype=half)
    with torch.no_grad():
        made.svd.singular.copy_(torch.linspace(0.5, 1.5, 12) if spectrum == "clip" else torch.linspace(-9, 9, 12))
    before = made.weight.detach()
    made.weight = made.weight.detach()
    assert_close(made.weight, before, half)
    again = SpectralLinear.from_dense(before, made.bias, margin=0.3, spectrum=spectrum)
    assert again.weight.dtype == half
    assert_close(again.weight, before, half)


@pytest.mark.parametrize("gates", [False, True])
@halves
def test_a_parametrized_weight_in_half_precision_and_under_autocast(half, gates):
    lstm = nn.LSTM(3, 5, dtype=half)
    spectral_svd(lstm, "weight_hh_l0", margin=0.3, gates=gates, generator=generator())
    assert lstm.weight_hh_l0.dtype == half
    x = inputs(4, 2, 3).to(half)
    assert lstm(x)[0].dtype == half
    lstm(x)[0].float().sum().backward()
    before = lstm.weight_hh_l0.detach()
    lstm.weight_hh_l0 = before
    assert_close(lstm.weight_hh_l0, before, half)
    linear = spectral_svd(nn.Linear(6, 6), margin=0.3, generator=generator())
    with torch.autocast("cpu", half):
        assert linear.weight.dtype == torch.float32
        assert linear(inputs(2, 6)).dtype == half
        linear.weight = linear.weight.detach()


def test_a_dtype_that_does_not_fit_is_refused_as_torch_refuses_it():
    for own, given in [(torch.float32, F64), (F64, torch.float32), (torch.float32, torch.bfloat16)]:
        made, x = layer(dtype=own), inputs(4, 16).to(given)
        with pytest.raises(RuntimeError):
            made.to_linear()(x)
        with pytest.raises(ShapeError, match=f"must be of {own}, as the parameters are; found {given}"):
            made(x)
    with pytest.raises(ShapeError, match=r"found torch\.int64"):
        layer()(torch.ones(4, 16, dtype=torch.int64))


@pytest.mark.parametrize("kind", [SVD, SpectralLinear, lambda *a, **o: SpectralRNN(*a, reflectors=2, **o)])
def test_complex_numbers_are_refused_by_name(kind):
    with pytest.raises(OptionError, match=r"found torch\.complex64\. Matrices are real"):
        kind(4, 4, dtype=torch.complex64)
    made = kind(4, 4)
    before = {name: p.dtype for name, p in made.named_parameters()}
    with pytest.warns(UserWarning, match="Complex modules"), pytest.raises(OptionError, match="Matrices are real"):
        made.to(torch.complex64)
    with pytest.raises(OptionError, match=r"torch\.complex128"):
        made.type(torch.complex128)
    own = {name: dtype for name, dtype in before.items() if "bias" not in name}
    assert {name: p.dtype for name, p in made.named_parameters() if "bias" not in name} == own


def test_complex_vectors_matrices_and_weights_are_refused_by_name():
    for x in (inputs(2, 16).to(torch.complex64), inputs(2, 16).to(torch.complex128)):
        with pytest.raises(ShapeError, match=r"found torch\.complex"):
            layer()(x)
        with torch.autocast("cpu", torch.bfloat16), pytest.raises(ShapeError, match=r"found torch\.complex"):
            layer()(x)
    with pytest.raises(ShapeError, match="w must be real"):
        layer().set_dense(torch.eye(12, 16, dtype=torch.complex64))
    with pytest.raises(OptionError, match="Matrices are real"):
        SVD.from_dense(torch.eye(3, dtype=torch.complex64))
    with pytest.raises(OptionError, match="Matrices are real"):
        spectral_svd(nn.Linear(3, 3, dtype=torch.complex64))


def test_every_other_cast_of_a_module_works():
    for net in (layer(), SpectralRNN(2, 4, reflectors=2), SpectralGRU(2, 4, reflectors=2)):
        for cast in (lambda m: m.double(), lambda m: m.half(), lambda m: m.bfloat16(), lambda m: m.float()):
            cast(net)
        assert {p.dtype for p in net.parameters()} == {torch.float32}
        net.share_memory()
        net.requires_grad_(False).to("cpu")
