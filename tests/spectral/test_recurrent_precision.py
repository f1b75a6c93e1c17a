"""Recurrent modules in float16 and bfloat16, and under autocast: matrices are formed and states carried in float32."""

import copy

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN
from spectral.errors import ShapeError
from tests.spectral.agreement import assert_near, generator, parts

KINDS = {"rnn": SpectralRNN, "lstm": SpectralLSTM, "gru": SpectralGRU}
kinds = pytest.mark.parametrize("kind", list(KINDS))
halves = pytest.mark.parametrize("half", [torch.float16, torch.bfloat16], ids=str)
OPTIONS = [{}, {"spectrum": "fixed"}, {"spectrum": "clip", "bias": False}, {"bidirectional": True, "num_layers": 2}]

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def net(kind, **options):
    return KINDS[kind](3, 8, margin=0.3, generator=generator(), **options)


def to_plain(made, kind):
    return getattr(made, f"to_{kind}")()


def loss(outputs):
    return sum(part.float().square().sum() for part in outputs)


def draw(*shape):
    return torch.randn(*shape, generator=generator(1))


@kinds
@halves
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_half_module_computes_in_float32_and_returns_its_own_dtype(kind, half, options):
    made = net(kind, **options).to(half)
    # A float32 module with the rounded parameters computes the same; only what goes in and comes out is rounded.
    wide = copy.deepcopy(made).float()
    x = draw(5, 2, 3).to(half)
    found, expected = parts(made(x)), parts(wide(x.float()))
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == half
        assert torch.equal(f, e.to(half))
    loss(found).backward()
    loss([part.to(half).float() for part in expected]).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad.dtype == half, name
        torch.testing.assert_close(parameter.grad.float(), wide.get_parameter(name).grad, rtol=0.05, atol=0.05)


@kinds
@halves
def test_matrices_of_a_half_module_are_rounded_once(kind, half):
    made = net(kind, dtype=half)
    wide = copy.deepcopy(made).float()
    assert made.singular_values().dtype == torch.float32
    assert torch.equal(made.singular_values(), wide.singular_values())
    assert all(part.dtype == torch.float32 for part in made.transition())
    assert torch.equal(made.dense(), wide.dense().to(half))
    plain = to_plain(made, kind)
    assert plain.weight_hh_l0.dtype == half
    assert torch.equal(plain.weight_hh_l0, made.dense())
    assert torch.equal(plain.weight_ih_l0, made.weight_ih_l0)


@kinds
@halves
def test_lengths_packed_sequences_and_packs_of_half_modules(kind, half):
    made = net(kind, bidirectional=True, dtype=half)
    x, lengths = draw(5, 2, 3).to(half), torch.tensor([5, 3])
    packed, last = made(pack_padded_sequence(x, lengths))
    output, last_of_padded = made(x, lengths=lengths)
    assert packed.data.dtype == half
    assert torch.equal(packed.data[:2], output[0])
    for own, expected in zip(parts((output, last))[1:], parts((output, last_of_padded))[1:], strict=True):
        assert own.dtype == half
        torch.testing.assert_close(own, expected)
    pack = KINDS[kind].pack([made, net(kind, bidirectional=True, dtype=half)])
    alone = pack(torch.stack([x, x]), lengths=lengths)[0]
    assert alone.dtype == half
    torch.testing.assert_close(alone[0], output)


@kinds
@halves
def test_a_half_module_takes_a_given_matrix(kind, half):
    made, other = net(kind, dtype=half), KINDS[kind](3, 8, margin=0.3, generator=generator(3), dtype=half)
    made.set_dense(other.dense())
    torch.testing.assert_close(made.dense().float(), other.dense().float(), rtol=0.02, atol=0.02)


@kinds
@halves
def test_matrices_and_conversions_are_the_same_under_autocast(kind, half):
    made, x = net(kind, bidirectional=True, num_layers=2), draw(5, 2, 3)
    dense, plain, output = made.dense(1, reverse=True), to_plain(made, kind), made(x)[0]
    with torch.autocast("cpu", dtype=half):
        under, converted, run = made.dense(1, reverse=True), to_plain(made, kind), made(x)[0]
    assert under.dtype == run.dtype == torch.float32
    assert torch.equal(under, dense)
    assert torch.equal(run, output)
    for name, parameter in converted.named_parameters():
        assert torch.equal(parameter, plain.get_parameter(name)), name


@halves
def test_a_projection_is_formed_in_float32(half):
    made = net("lstm", proj_size=4)
    dense = made.dense()
    with torch.autocast("cpu", dtype=half):
        assert torch.equal(made.dense(), dense)
    made = made.to(half)
    wide = copy.deepcopy(made).float()
    x = draw(5, 2, 3).to(half)
    for f, e in zip(parts(made(x)), parts(wide(x.float())), strict=True):
        assert torch.equal(f, e.to(half))
    assert_near(made.dense().float(), wide.dense().to(half).float(), 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_matrix_in_half_precision_at_the_edge_of_the_band_can_be_set(dtype):
    net = SpectralRNN(3, 12, reflectors=12, margin=0.1, dtype=dtype)
    with torch.no_grad():
        net.singular_l0.fill_(30.0)
    net.set_dense(net.dense())
    assert (net.singular_values() - 1.1).abs().max() < 0.01


def test_a_complex_matrix_is_refused():
    with pytest.raises(ShapeError, match="must be real"):
        SpectralRNN(3, 4).set_dense(torch.eye(4) * 1j)
