import pytest
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from spectral import BACKENDS, SpectralRNN
from spectral.errors import (
    BandError,
    ConversionError,
    OptionError,
    PackError,
    RangeError,
    ReflectorCountError,
    ShapeError,
)
from spectral.recurrence import triton
from spectral.recurrence.activation import NAMES
from tests.spectral.agreement import activations, assert_near, draw, generator, gradients, move_offsets

F64 = torch.float64


def net(*sizes, seed=0, **options):
    options.setdefault("reflectors", (3, 4))
    made = SpectralRNN(*(sizes or (3, 6)), dtype=F64, generator=generator(seed), margin=0.3, **options)
    with torch.no_grad():
        for parameter in made.singular_parameters():
            parameter += draw(*parameter.shape, seed=seed + 1)
    move_offsets(made)
    return made


def assert_like_torch(made, x, h0=None, size=2000):
    """Compare outputs, last states, and the gradients of what both modules have: input weights, first bias, W."""
    plain = made.to_rnn()
    found, expected = made(x, h0), plain(x, h0)
    for f, e in zip(found, expected, strict=True):
        if isinstance(f, PackedSequence):
            assert torch.equal(f.batch_sizes, e.batch_sizes)
            assert (f.sorted_indices is None) == (e.sorted_indices is None)
            f, e = f.data, e.data
        assert_near(f, e, size)
        assert f.dtype == e.dtype
    names = [name for name, _ in made.named_parameters() if name.startswith("weight_ih")]
    total = [(o[0].data if isinstance(o[0], PackedSequence) else o[0]) for o in (found, expected)]
    grads = [gradients(t, [getattr(m, n) for n in names]) for t, m in zip(total, (made, plain), strict=True)]
    for f, e in zip(*grads, strict=True):
        assert_near(f, e, size)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_every_option_does_what_torch_does(nonlinearity, layers, bidirectional, batch_first, bias):
    made = net(3, 6, layers, nonlinearity, bias, batch_first, bidirectional=bidirectional)
    h0 = draw(layers * (1 + bidirectional), 2, 6, seed=3)
    x = draw(2, 5, 3) if batch_first else draw(5, 2, 3)
    assert_like_torch(made, x)
    assert_like_torch(made, x, h0)
    assert_like_torch(made, draw(5, 3), h0[:, 0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences(bidirectional, batch_first, enforce_sorted):
    made = net(3, 6, 2, batch_first=batch_first, bidirectional=bidirectional)
    lengths = torch.tensor([5, 3, 3, 1] if enforce_sorted else [3, 5, 1, 3])
    x = draw(4, 5, 3) if batch_first else draw(5, 4, 3)
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted)
    h0 = draw(2 * (1 + bidirectional), 4, 6, seed=3)
    assert_like_torch(made, packed)
    assert_like_torch(made, packed, h0)
    padded, _ = pad_packed_sequence(made(packed, h0)[0], batch_first)
    out, h_n = made(x, h0, lengths=lengths)
    assert_near(out, padded, 2000)
    assert_near(h_n, made(packed, h0)[1], 2000)


def test_what_stands_past_the_end_does_not_count():
    made, lengths = net(3, 6, bidirectional=True), torch.tensor([2, 4])
    x = draw(4, 2, 3)
    other = x.clone()
    other[2:, 0] = 7.0
    (a, h_a), (b, h_b) = made(x, lengths=lengths), made(other, lengths=lengths)
    assert torch.equal(a, b)
    assert torch.equal(h_a, h_b)


@pytest.mark.parametrize("nonlinearity", NAMES)
def test_every_backend_gives_the_same_net(nonlinearity):
    x, h0 = draw(4, 2, 3).requires_grad_(), draw(2, 2, 6, seed=1).requires_grad_()
    results = {}
    for backend in BACKENDS:
        if nonlinearity not in activations(backend) or (backend.startswith("triton") and not triton.installed()):
            continue
        made = net(3, 6, 2, nonlinearity, backend=backend, negative_slope=0.2)
        out, h_n = made(x, h0)
        results[backend] = [out, h_n, *gradients(out, [x, h0, *made.parameters()])]
    for found in results.values():
        for f, e in zip(found, results["reference"], strict=True):
            assert_near(f, e, 2000)


def test_empty_batch():
    out, h_n = net()(torch.zeros(5, 0, 3, dtype=F64))
    assert out.shape == (5, 0, 6)
    assert h_n.shape == (1, 0, 6)


def test_dropout_lies_between_layers_and_only_in_training():
    made = net(3, 6, 2, dropout=1.0)
    first = draw(4, 2, 3)
    assert torch.equal(made(first)[0], made(2 * first)[0])
    assert not torch.equal(made.eval()(first)[0], made(2 * first)[0])


def test_state_dict_round_trip():
    made, other = net(3, 6, 2, bidirectional=True), net(3, 6, 2, bidirectional=True, seed=7)
    other.load_state_dict(made.state_dict())
    assert torch.equal(made(draw(4, 2, 3))[0], other(draw(4, 2, 3))[0])
    names = {"weight_ih_l0", "bias_l0", "reflectors_u_l0", "reflectors_v_l0", "singular_l0", "_extra_state"}
    assert set(net().state_dict()) == names


def test_modrelu_has_an_offset_for_each_unit_of_each_layer_and_direction():
    made, other = (net(3, 6, 2, "modrelu", bidirectional=True, seed=seed) for seed in (0, 7))
    names = {"offset_l0", "offset_l0_reverse", "offset_l1", "offset_l1_reverse"}
    assert names == {name for name in made.state_dict() if name.startswith("offset")}
    other.load_state_dict(made.state_dict())
    x = draw(5, 2, 3)
    assert torch.equal(made(x)[0], other(x)[0])
    assert made.free_parameters() == net(3, 6, 2, "relu", bidirectional=True).free_parameters() + 4 * 6
    stored = sum(p.numel() for p in made.parameters())
    assert made.free_parameters() == stored - 4 * (3 + 6)
    lengths = torch.tensor([3, 5])
    out, h_n = made(x, lengths=lengths)
    assert_near(out[:3, 0], made(x[:3, 0])[0], 2000)
    assert_near(h_n, made.last_state(x, lengths=lengths), 2000)
    with pytest.raises(ConversionError, match="modrelu"):
        made.to_rnn()


def test_modrelu_starts_as_the_identity():
    options = {"reflectors": 2, "dtype": F64, "bias": False}
    modrelu, identity = (
        SpectralRNN(3, 6, nonlinearity=name, generator=generator(), **options) for name in ("modrelu", "identity")
    )
    assert torch.equal(modrelu.offset_l0, torch.zeros(6, dtype=F64))
    assert_near(modrelu(draw(5, 2, 3))[0], identity(draw(5, 2, 3))[0], 400)


def test_a_cast_does_not_round_the_band():
    made = SpectralRNN(2, 4, reflectors=2, generator=generator()).double()
    with torch.no_grad():
        made.singular_l0.fill_(100.0)
    assert made.singular_values().max().item() == 1 + 0.01


def test_the_count_of_parameters_is_the_papers():
    n, inputs, m1, m2 = 6, 3, 3, 4
    made = net(inputs, n)
    assert made.free_parameters() == (inputs + m1 + m2 + 2) * n - (m1**2 + m2**2 - m1 - m2) // 2
    stored = sum(p.numel() for p in made.parameters())
    masked = sum(m * (m - 1) // 2 for m in (m1, m2))
    assert stored - masked == made.free_parameters()


@pytest.mark.parametrize("spectrum", ["sigmoid", "clip"])
def test_training_keeps_the_band_and_the_masked_zeros(spectrum):
    made = net(spectrum=spectrum, nonlinearity="relu", reflectors=6)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.5, weight_decay=0.1)
    for step in range(4):
        optimizer.zero_grad()
        (-made(draw(5, 3, 3, seed=step))[0].square().mean()).backward()
        optimizer.step()
        made.normalize_()
    sigma = made.singular_values()
    assert ((sigma >= 1 - 0.3) & (sigma <= 1 + 0.3)).all()
    assert (torch.linalg.svdvals(made.dense()) - 1).abs().max() <= 0.3 + 1e-13
    assert not made.reflectors_u_l0.triu(1).any()


def test_normalising_changes_nothing_but_lengths():
    made, x = net(), draw(4, 2, 3)
    before = made(x)[0]
    made.normalize_()
    assert_near(made(x)[0], before, 400)
    assert_near(made.reflectors_u_l0.norm(dim=0), torch.ones(3, dtype=F64), 6)


@pytest.mark.parametrize(
    ("init", "n", "counts"),
    [
        ("gaussian", 5, (2, 3)),
        ("identity", 5, (2, 2)),
        ("henaff", 6, (3, 3)),
        ("henaff", 7, (5, 5)),
        ("cayley", 6, (6, 6)),
    ],
)
def test_initial_reflectors(init, n, counts):
    made = SpectralRNN(2, n, reflectors=counts, init=init, dtype=F64, generator=generator())
    w, eye = made.dense(), torch.eye(n, dtype=F64)
    assert_near(w.mT @ w, eye, n * n)
    if init == "identity":
        assert_near(w, eye, n * n)
    if init in ("henaff", "cayley"):
        angle = torch.atan2(w[1, 0], w[0, 0])
        assert_near(w[:2, :2], torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2), n * n)
        assert (w - torch.block_diag(*[w[i : i + 2, i : i + 2] for i in range(0, n, 2)])).abs().max() < 1e-14
    if init == "cayley":
        assert 0 < angle < torch.pi / 2


@pytest.mark.parametrize("spectrum", ["sigmoid", "clip", "penalty"])
def test_set_dense_starts_from_any_matrix_in_the_band(spectrum):
    w = net(3, 6, 1, seed=5, reflectors=6).dense().detach()
    made = net(3, 6, 2, bidirectional=True, spectrum=spectrum, reflectors=6)
    made.set_dense(w, 1, reverse=True)
    assert_near(made.dense(1, reverse=True), w, 400)
    assert (made.dense(1) - w).abs().max() > 0.1, "one direction alone"
    with pytest.raises(BandError if spectrum != "penalty" else ReflectorCountError):
        net(3, 6, 1, spectrum=spectrum).set_dense(w if spectrum == "penalty" else 2 * w)
    with pytest.raises(ShapeError, match=r"w must be real and have shape \(6, 6\)"):
        made.set_dense(w[:5])


@pytest.mark.parametrize(("counts", "sign"), [((3, 4), -1), ((6, 1), -1), ((3, 3), 1), ((6, 6), 1), ((5, 6), -1)])
@pytest.mark.parametrize("spectrum", ["sigmoid", "fixed"])
def test_an_odd_number_of_reflectors_has_a_negative_determinant_through_training(counts, sign, spectrum):
    made = net(3, 6, reflectors=counts, spectrum=spectrum)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.5)
    for step in range(3):
        assert torch.linalg.det(made.dense()).sign() == sign
        optimizer.zero_grad()
        made(draw(5, 3, 3, seed=step))[0].square().sum().backward()
        optimizer.step()


def test_the_seed_decides_and_nothing_else():
    first, second, third = (net(seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["weight_ih_l0"], third["weight_ih_l0"])
    single = SpectralRNN(3, 6, reflectors=2, generator=generator(4)).state_dict()
    double = SpectralRNN(3, 6, reflectors=2, generator=generator(4), dtype=F64).state_dict()
    assert all(torch.equal(single[name], double[name].float()) for name in single)


def test_fixed_singular_values_make_an_orthogonal_net():
    made = net(spectrum="fixed")
    assert_near(made.dense().mT @ made.dense(), torch.eye(6, dtype=F64), 36)
    assert list(made.singular_parameters()) == []
    assert made.free_parameters() == (3 + 7 + 1) * 6 - 9


def test_runs_under_autocast():
    made = SpectralRNN(3, 6, reflectors=2, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, _ = made(torch.ones(4, 2, 3))
    out.float().sum().backward()
    assert made.weight_ih_l0.grad is not None


def test_what_is_refused():
    with pytest.raises(ReflectorCountError, match="from 0 to 6"):
        SpectralRNN(3, 6, reflectors=7)
    with pytest.raises(ReflectorCountError, match="m1 = m2"):
        net(init="identity")
    with pytest.raises(ReflectorCountError, match="floor"):
        net(reflectors=2, init="henaff")
    with pytest.raises(OptionError, match="init must be one of"):
        net(init="zeros")
    with pytest.raises(OptionError, match="nonlinearity must be one of"):
        net(3, 6, 1, "sine")
    with pytest.raises(OptionError, match="backend must be"):
        net(backend="fast")
    with pytest.raises(ShapeError, match="one integer, m, or two"):
        net(reflectors=(1, 2, 3))
    for option in ({"num_layers": 0}, {"dropout": 1.5}):
        with pytest.raises(RangeError, match=next(iter(option))):
            net(**option)
    made = net()
    with pytest.raises(ShapeError, match=r"\(T, B, 3\)"):
        made(torch.zeros(5, 2, 4, dtype=F64))
    with pytest.raises(ShapeError, match=r"without a batch \(T, 3\).* found \(5,\)"):
        made(torch.zeros(5, dtype=F64))
    with pytest.raises(ShapeError, match="h_0 must have shape"):
        made(torch.zeros(5, 2, 3, dtype=F64), torch.zeros(1, 3, 6, dtype=F64))
    with pytest.raises(RangeError, match=r"lengths must lie in \[1, 5\]"):
        made(torch.zeros(5, 2, 3, dtype=F64), lengths=torch.tensor([0, 5]))
    with pytest.raises(ConversionError, match="leaky_relu"):
        net(3, 6, 1, "leaky_relu").to_rnn()
    with pytest.raises(PackError, match=r"\.trial\(k\)"):
        SpectralRNN.pack([made]).to_rnn()


def test_repr_names_the_options():
    assert "reflectors=(3, 4), margin=0.3" in repr(net())
