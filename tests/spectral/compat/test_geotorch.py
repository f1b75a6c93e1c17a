"""Weights as GeoTorch holds them, against GeoTorch itself."""

import geotorch
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize as torch_parametrize

from spectral import SVD, SpectralRNN
from spectral.compat import from_geotorch, replace_geotorch, to_geotorch
from spectral.errors import BandError, OptionError, RangeError, ShapeError
from tests.spectral.agreement import assert_near, draw, generator

F64 = torch.float64
SQUARE, TALL, WIDE, BATCH = (5, 5), (6, 3), (3, 6), (2, 4, 3)
KINDS = [
    ("orthogonal", SQUARE, {}),
    ("orthogonal", TALL, {"triv": "cayley"}),
    ("orthogonal", WIDE, {}),
    ("orthogonal", BATCH, {}),
    ("grassmannian", TALL, {}),
    ("grassmannian", WIDE, {}),
    ("almost_orthogonal", SQUARE, {"lam": 0.3}),
    ("almost_orthogonal", TALL, {"lam": 0.3, "f": "tanh", "triv": "cayley"}),
    ("almost_orthogonal", WIDE, {"lam": 1.0, "f": "scaled_sigmoid"}),
    ("almost_orthogonal", BATCH, {"lam": 0.2, "f": "scaled_sigmoid"}),
    ("low_rank", TALL, {"rank": 2}),
    ("low_rank", WIDE, {"rank": 1, "triv": "cayley"}),
    ("low_rank", BATCH, {"rank": 3}),
    ("fixed_rank", TALL, {"rank": 2}),
    ("fixed_rank", WIDE, {"rank": 3}),
    ("invertible", SQUARE, {}),
]
kinds = pytest.mark.parametrize(("constraint", "shape", "options"), KINDS)
CLASSES = {
    "orthogonal": geotorch.Stiefel,
    "grassmannian": geotorch.Grassmannian,
    "almost_orthogonal": geotorch.AlmostOrthogonal,
    "low_rank": geotorch.LowRank,
    "fixed_rank": geotorch.FixedRank,
    "invertible": geotorch.GLp,
}
LEARNT = {"orthogonal": "fixed", "grassmannian": "fixed", "invertible": "penalty"}


def constrained(constraint, shape, options, seed=0, dtype=F64):
    """Return a module whose ``weight`` GeoTorch constrains, at a random point with a random tangent.

    The manifold is registered by its class, since geotorch.almost_orthogonal draws a tall weight for a wide one.
    """
    layer = nn.Module()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        manifold = CLASSES[constraint](torch.Size(shape), **options).to(dtype)
        sample = manifold.sample()
        layer.weight = nn.Parameter(sample if sample.shape == shape else sample.mT)
        torch_parametrize.register_parametrization(layer, "weight", manifold, unsafe=True)
        with torch.no_grad():
            layer.parametrizations.weight.original += 0.3 * torch.randn(*shape, dtype=dtype)
    return layer


@kinds
def test_the_weight_of_a_state_dict_is_geotorch_s(constraint, shape, options):
    layer = constrained(constraint, shape, options)
    found = from_geotorch(layer.state_dict(), constraint=constraint, **options)
    assert_near(found, layer.weight, 1000)
    outer = nn.ModuleDict({"encoder": layer}).float()
    found = from_geotorch(outer.state_dict(), "encoder.weight", constraint=constraint, **options)
    assert found.dtype == torch.float32
    assert_near(found, layer.weight, 1000)


@kinds
def test_geotorch_loads_what_was_written_for_it(constraint, shape, options):
    weight = constrained(constraint, shape, options).weight.detach()
    other = constrained(constraint, shape, options, seed=1)
    assert (other.weight - weight).abs().max() > 0.1
    trivless = {key: value for key, value in options.items() if key != "triv"}
    entries = to_geotorch(weight, constraint=constraint, **trivless)
    other.load_state_dict(entries)  # strictly: with all the entries that GeoTorch has, and no other
    assert_near(other.weight, weight, 1000)
    assert_near(from_geotorch(entries, constraint=constraint, **options), weight, 1000)


def test_a_layer_of_geotorch_becomes_a_spectral_one_and_back():
    layer = geotorch.almost_orthogonal(nn.Linear(4, 7, bias=False, dtype=F64), lam=0.3, f="scaled_sigmoid")
    with torch.no_grad():
        layer.parametrizations.weight.original += 0.5 * draw(7, 4)
    options = {"constraint": "almost_orthogonal", "lam": 0.3, "f": "scaled_sigmoid"}
    svd = SVD.from_dense(from_geotorch(layer.state_dict(), **options), margin=0.3)
    assert_near(svd.dense(), layer.weight, 300)
    with torch.no_grad():
        svd.singular += 0.5
    layer.load_state_dict(to_geotorch(svd.dense(), **options))
    assert_near(layer.weight, svd.dense(), 300)
    raw = layer.parametrizations.weight.original.diagonal()
    # the two maps are one, so the raw numbers are equal too, in another order
    assert_near(raw.sort()[0], svd.singular.sort()[0], 10_000)


def test_a_recurrent_matrix_goes_to_geotorch_and_comes_back():
    rnn = SpectralRNN(3, 6, reflectors=6, margin=0.1, dtype=F64, generator=generator())
    plain = rnn.to_rnn()
    x = draw(4, 2, 3)
    expected = plain(x)[0]
    options = {"constraint": "almost_orthogonal", "lam": 0.1}
    geotorch.almost_orthogonal(plain, "weight_hh_l0", lam=0.1)
    missing = plain.load_state_dict(to_geotorch(rnn.dense(), "weight_hh_l0", **options), strict=False)
    assert not missing.unexpected_keys
    assert_near(plain(x)[0], expected, 300)
    other = SpectralRNN(3, 6, reflectors=6, margin=0.1, dtype=F64, generator=generator(1))
    other.set_dense(from_geotorch(plain.state_dict(), "weight_hh_l0", **options))
    assert_near(other.dense(), rnn.dense(), 300)


def test_both_halves_of_the_orthogonal_matrices_are_written():
    for sign in (1, -1):
        q = torch.linalg.qr(draw(5, 5))[0]
        q[:, 0] *= sign * torch.linalg.det(q).sign()
        layer = constrained("orthogonal", SQUARE, {})
        layer.load_state_dict(to_geotorch(q, constraint="orthogonal"))
        assert_near(layer.weight, q, 100)


def test_an_orthogonal_weight_of_float32_that_training_has_bent_fits_the_fixed_spectrum():
    layer = constrained("orthogonal", (8, 8), {}, dtype=torch.float32)
    with torch.no_grad():
        layer.parametrizations.weight[0].base += 1e-4 * draw(8, 8).float()  # much more than rounding does
    with pytest.raises(BandError):
        SVD.from_dense(layer.weight.detach(), spectrum="fixed")
    found = from_geotorch(layer.state_dict(), constraint="orthogonal")
    assert_near(SVD.from_dense(found, spectrum="fixed").dense(), found, 100)
    assert (found - layer.weight).abs().max() < 1e-3


@kinds
def test_a_parametrization_of_geotorch_is_replaced(constraint, shape, options):
    layer = constrained(constraint, shape, options)
    if len(shape) > 2:
        with pytest.raises(ShapeError, match="must be a matrix"):
            replace_geotorch(layer)
        return
    weight = layer.weight.detach()
    assert replace_geotorch(layer) is layer
    svd = layer.parametrizations.weight[0].svd
    expected = {"almost_orthogonal": "clip" if options.get("f") is None else "sigmoid"} | LEARNT
    assert svd.spectrum == expected.get(constraint, "penalty")
    if constraint == "almost_orthogonal":
        assert svd.slots[0].margin == options["lam"]
    assert_near(layer.weight, weight, 1000)
    layer.weight.square().sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())


def test_a_replaced_weight_of_a_module_of_torch():
    rnn = nn.LSTM(3, 4, dtype=F64)
    geotorch.orthogonal(rnn, "weight_ih_l0")
    x = draw(5, 2, 3)
    expected = rnn(x)[0]
    replace_geotorch(rnn, "weight_ih_l0", spectrum="sigmoid", margin=0.2)
    assert_near(rnn(x)[0], expected, 300)
    svd = rnn.parametrizations.weight_ih_l0[0].svd
    assert (svd.spectrum, svd.slots[0].margin) == ("sigmoid", 0.2)


def test_a_module_is_left_alone_if_its_weight_cannot_be_replaced():
    layer = constrained("orthogonal", TALL, {})
    before = layer.weight.detach().clone()
    with pytest.raises(BandError):
        replace_geotorch(layer, sigma=2.0)
    assert torch.equal(layer.weight, before)
    assert isinstance(layer.parametrizations.weight[0], geotorch.Stiefel)


def test_only_geotorch_s_own_constraints_are_replaced():
    with pytest.raises(OptionError, match="found none"):
        replace_geotorch(nn.Linear(2, 2))
    with pytest.raises(OptionError, match="_Orthogonal"):
        replace_geotorch(nn.utils.parametrizations.orthogonal(nn.Linear(2, 2)))
    with pytest.raises(OptionError, match="GeoTorch's Skew"):
        replace_geotorch(geotorch.skew(nn.Linear(2, 2)))


def test_a_weight_that_geotorch_cannot_hold_is_refused():
    w = torch.diag(torch.tensor([1.2, 0.9, 0.5], dtype=F64))
    for constraint in ("orthogonal", "grassmannian"):
        with pytest.raises(BandError, match=rf"geotorch\.{constraint} holds .* from 1 to 1; .* from 0\.5 to 1\.2"):
            to_geotorch(w, constraint=constraint)
    with pytest.raises(BandError, match=r"lam=0\.4 holds singular values from 0\.6"):
        to_geotorch(w, constraint="almost_orthogonal", lam=0.4)
    assert to_geotorch(w, constraint="almost_orthogonal", lam=0.5)
    with pytest.raises(BandError, match="rank=2, for the values after the first 2, holds"):
        to_geotorch(w, constraint="low_rank", rank=2)
    w[2, 2] = 0
    with pytest.raises(BandError, match=r"geotorch\.invertible with rank=3 holds singular values from 2e-06"):
        to_geotorch(w, constraint="invertible")
    with pytest.raises(RangeError, match="weight must be finite"):
        to_geotorch(w * float("nan"), constraint="low_rank", rank=3)


def test_a_value_at_the_edge_is_written():
    for f in ("sin", "tanh", "scaled_sigmoid"):
        w = torch.diag(torch.tensor([1.3, 1.0, 0.7]))
        layer = constrained("almost_orthogonal", (3, 3), {"lam": 0.3, "f": f}, dtype=torch.float32)
        layer.load_state_dict(to_geotorch(w, constraint="almost_orthogonal", lam=0.3, f=f))
        assert_near(layer.weight, w, 100)


def test_what_is_refused():
    state = constrained("low_rank", TALL, {"rank": 2}).state_dict()
    with pytest.raises(OptionError, match=r"constraint must be one of orthogonal, .* found 'skew'"):
        from_geotorch(state, constraint="skew")
    with pytest.raises(OptionError, match="constraint must be one of"):
        to_geotorch(draw(2, 2), constraint="skew")
    with pytest.raises(OptionError, match=r"no 'parametrizations\.weight\.0\.base'; check name"):
        from_geotorch(state, constraint="orthogonal")
    with pytest.raises(OptionError, match=r"no 'rnn\.parametrizations\.weight\.original'"):
        from_geotorch(state, "rnn.weight", constraint="orthogonal")
    with pytest.raises(RangeError, match="rank, which low_rank needs, must be an integer from 1 to 3; found None"):
        from_geotorch(state, constraint="low_rank")
    with pytest.raises(RangeError, match="found 4"):
        to_geotorch(draw(*TALL), constraint="low_rank", rank=4)
    with pytest.raises(OptionError, match="f, for low_rank, must be one of identity; found 'sin'"):
        from_geotorch(state, constraint="low_rank", rank=2, f="sin")
    with pytest.raises(OptionError, match="triv must be one of expm, cayley"):
        from_geotorch(state, constraint="low_rank", rank=2, triv="exp")
    with pytest.raises(RangeError, match="lam must lie in"):
        to_geotorch(draw(2, 2), constraint="almost_orthogonal", lam=1.5)
    with pytest.raises(ShapeError, match="square"):
        to_geotorch(draw(*TALL), constraint="invertible")
    with pytest.raises(ShapeError, match="two dimensions"):
        to_geotorch(draw(3), constraint="orthogonal")
    broken = {**state, "parametrizations.weight.0.0.base": torch.ones(6, 6)}
    with pytest.raises(RangeError, match="must be an orthogonal matrix"):
        from_geotorch(broken, constraint="low_rank", rank=2)
    short = {**state, "parametrizations.weight.0.2.base": torch.eye(2)}
    with pytest.raises(ShapeError, match=r"must have shape \(3, 3\); found \(2, 2\)"):
        from_geotorch(short, constraint="low_rank", rank=2)
