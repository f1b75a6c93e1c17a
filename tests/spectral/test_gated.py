"""SpectralLSTM and SpectralGRU compute what torch's modules compute with the same dense matrices."""

import copy

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from spectral import SpectralGRU, SpectralLSTM
from spectral.errors import PackError, RangeError, ReflectorCountError, ShapeError
from tests.spectral.agreement import assert_near, draw, generator, gradients, parts

F64 = torch.float64
KINDS = {"lstm": SpectralLSTM, "gru": SpectralGRU}
kinds = pytest.mark.parametrize("kind", list(KINDS))
SLOTS = [
    {"reflectors": (3, 4), "margin": 0.3},
    {"reflectors": (6, 1), "margin": 0.01, "sigma": 0.8},
    {"reflectors": 2, "margin": 1.0},
]


def net(kind, *sizes, seed=0, **options):
    options = {"reflectors": (3, 4), "margin": 0.3} | options
    made = KINDS[kind](*(sizes or (3, 6)), dtype=F64, generator=generator(seed), **options)
    with torch.no_grad():
        for parameter in made.singular_parameters():
            parameter += draw(*parameter.shape, seed=seed + 1)
    return made


def plain(made):
    return made.to_lstm() if isinstance(made, SpectralLSTM) else made.to_gru()


def starts(kind, *shape, seed=3):
    states = [draw(*shape, seed=seed + i).requires_grad_() for i in range(2 if kind == "lstm" else 1)]
    return states, tuple(states) if kind == "lstm" else states[0]


def joined(result):
    return torch.cat([part.flatten() for part in parts(result)])


@kinds
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("spectrum", ["sigmoid", "clip", "penalty", "fixed"])
def test_it_is_torchs_over_the_same_matrices(kind, layers, batch_first, bias, spectrum):
    made = net(kind, 3, 6, layers, bias, batch_first, spectrum=spectrum)
    torchs = plain(made)
    x = (draw(2, 5, 3) if batch_first else draw(5, 2, 3)).requires_grad_()
    states, h0 = starts(kind, layers, 2, 6)
    found, expected = made(x, h0), torchs(x, h0)
    for f, e in zip(parts(found), parts(expected), strict=True):
        assert_near(f, e, 2000)
    shared = [f"weight_ih_l{layer}" for layer in range(layers)]
    leaves = [[x, *states, *(getattr(m, name) for name in shared)] for m in (made, torchs)]
    for f, e in zip(gradients(joined(found), leaves[0]), gradients(joined(expected), leaves[1]), strict=True):
        assert_near(f, e, 2000)
    for layer in range(layers):
        of_w = gradients(joined(torchs(x, h0)), [getattr(torchs, f"weight_hh_l{layer}")])
        names = ["reflectors_u", "reflectors_v"] + (["singular"] if spectrum != "fixed" else [])
        own = [getattr(made, f"{name}_l{layer}") for name in names]
        through = torch.autograd.grad(made.dense(layer), own, of_w)
        for name, f, e in zip(names, gradients(joined(made(x, h0)), own), through, strict=True):
            assert_near(f, e, 4000, name)
    for f, e in zip(parts(made(draw(5, 3))), parts(torchs(draw(5, 3))), strict=True):
        assert_near(f, e, 2000, "unbatched")


@kinds
def test_gradients_of_both_biases(kind):
    made = net(kind)
    torchs = plain(made)
    x = draw(5, 2, 3)
    (outer,) = gradients(joined(made(x)), [made.bias_l0])
    of_ih, of_hh = gradients(joined(torchs(x)), [torchs.bias_ih_l0, torchs.bias_hh_l0])
    assert_near(outer, of_ih, 400)
    if kind == "gru":
        assert_near(gradients(joined(made(x)), [made.bias_hn_l0])[0], of_hh[12:], 400)


@kinds
def test_gradcheck(kind):
    made = net(kind, 2, 3, 2, reflectors=(2, 3))
    names = [name for name, _ in made.named_parameters()]
    states, h0 = starts(kind, 2, 2, 3)

    def run(x, *given):
        values = dict(zip(names, given[: len(names)], strict=True))
        own = given[len(names) :]
        return joined(torch.func.functional_call(made, values, (x, own if kind == "lstm" else own[0])))

    assert torch.autograd.gradcheck(run, (draw(4, 2, 2).requires_grad_(), *made.parameters(), *states))
    assert h0 is not None


@kinds
@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_are_a_packed_sequence(kind, batch_first):
    made = net(kind, 3, 6, 2, batch_first=batch_first)
    torchs = plain(made)
    lengths = torch.tensor([3, 5, 1, 3])
    x = draw(4, 5, 3) if batch_first else draw(5, 4, 3)
    states, h0 = starts(kind, 2, 4, 6)
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    expected = parts(torchs(packed, h0))
    whole, _ = pad_packed_sequence(expected[0], batch_first)
    found = parts(made(x, h0, lengths=lengths))
    own = parts(made(packed, h0))
    assert_near(own[0].data, expected[0].data, 2000)
    for f, o, e in zip(found[1:], own[1:], expected[1:], strict=True):
        assert_near(f, e, 2000)
        assert_near(o, e, 2000)
    assert_near(found[0], whole, 2000)
    joins = [torch.cat([one.flatten() for one in many]) for many in (found, [whole, *expected[1:]])]
    leaves = [[*states, m.weight_ih_l1] for m in (made, torchs)]
    for f, e in zip(*(gradients(j, own) for j, own in zip(joins, leaves, strict=True)), strict=True):
        assert_near(f, e, 2000)


@kinds
@pytest.mark.parametrize("spectrum", ["sigmoid", "clip"])
def test_every_gate_stays_in_the_band_after_steps(kind, spectrum):
    made = net(kind, spectrum=spectrum, reflectors=6)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.5)
    for step in range(4):
        optimizer.zero_grad()
        (-made(draw(5, 3, 3, seed=step))[0].square().mean()).backward()
        optimizer.step()
        made.normalize_()
    for gate in made.dense().split(6):
        assert (torch.linalg.svdvals(gate) - 1).abs().max() <= 0.3 + 1e-13
    assert (made.singular_values() - 1).abs().max() > 0.01, "sigma has moved"
    assert made.singular_values().shape == (made.gates, 6)


@kinds
@pytest.mark.parametrize("lengths", [None, [3, 5], [[3, 5], [1, 2], [5, 5]]])
@pytest.mark.parametrize("spectrum", ["sigmoid", "fixed"])
def test_a_packed_trial_equals_the_same_trial_alone(kind, lengths, spectrum):
    alone = [net(kind, 3, 6, 2, seed=k, spectrum=spectrum, **slot) for k, slot in enumerate(SLOTS)]
    pack = KINDS[kind].pack(alone)
    lengths = None if lengths is None else torch.tensor(lengths)
    x, (states, h0) = draw(3, 5, 2, 3).requires_grad_(), starts(kind, 3, 2, 2, 6)
    result = parts(pack(x, h0, lengths=lengths))
    inputs = [x, *states, *pack.parameters()]
    for k, trial in enumerate(alone):
        own_leaves = [y.detach()[k].requires_grad_() for y in (x, *states)]
        own_h0 = tuple(own_leaves[1:]) if kind == "lstm" else own_leaves[1]
        ends = lengths if lengths is None or lengths.dim() == 1 else lengths[k]
        own = parts(trial(own_leaves[0], own_h0, lengths=ends))
        for f, e in zip(result, own, strict=True):
            assert_near(f[k], e, 4000)
        found = torch.autograd.grad(sum(f[k].square().sum() for f in result), inputs, retain_graph=True)
        expected = torch.autograd.grad(sum(e.square().sum() for e in own), [*own_leaves, *trial.parameters()])
        for f, e in zip(found, expected, strict=True):
            assert_near(f[k][..., : e.shape[-1]], e, 4000)
            assert not f[k][..., e.shape[-1] :].any()
        again = pack.trial(k)
        assert again.slots == trial.slots
        for f, e in zip(again.parameters(), trial.parameters(), strict=True):
            assert torch.equal(f, e)


@kinds
def test_a_nan_in_one_trial_leaves_the_others_bit_for_bit(kind):
    def run(broken):
        pack = KINDS[kind].pack([net(kind, seed=k, **slot) for k, slot in enumerate(SLOTS)])
        if broken:
            with torch.no_grad():
                pack.reflectors_u_l0[1, 2, 2, 0] = torch.nan
        out = pack(draw(3, 5, 2, 3))[0]
        return [out, *gradients(out, list(pack.parameters()))]

    whole, beside = run(False), run(True)
    assert beside[0][1].isnan().any()
    for w, b in zip(whole, beside, strict=True):
        assert torch.equal(w[[0, 2]], b[[0, 2]])


@kinds
def test_set_dense_takes_over_a_trained_module(kind):
    torchs = plain(net(kind, 3, 6, seed=5))
    made = net(kind, reflectors=6)
    made.set_dense(torchs.weight_hh_l0)
    assert_near(made.dense(), torchs.weight_hh_l0, 400)
    with pytest.raises(ShapeError, match=r"w must be real and have shape"):
        made.set_dense(torchs.weight_hh_l0[:6])


@kinds
def test_state_dict_copies_seeds_and_counts(kind):
    made, other = net(kind, 3, 6, 2), net(kind, 3, 6, 2, seed=7)
    other.load_state_dict(made.state_dict())
    x = draw(4, 2, 3)
    assert torch.equal(made(x)[0], other(x)[0])
    assert torch.equal(copy.deepcopy(made)(x)[0], made(x)[0])
    same = [net(kind, seed=4).state_dict() for _ in range(2)]
    assert all(torch.equal(same[0][name], same[1][name]) for name in same[0])
    one = net(kind)
    stored = sum(p.numel() for p in one.parameters())
    assert one.free_parameters() == stored - one.gates * (3 + 6)
    assert len(list(one.reflector_parameters())) == 2
    assert len(list(one.singular_parameters())) == 1


@kinds
def test_dropout_lies_between_layers_and_only_in_training(kind):
    made = net(kind, 3, 6, 2, dropout=1.0)
    first = draw(4, 2, 3)
    assert torch.equal(made(first)[0], made(2 * first)[0])
    assert not torch.equal(made.eval()(first)[0], made(2 * first)[0])
    assert made(first)[0].requires_grad


@kinds
def test_empty_batch_and_autocast(kind):
    out, *last = parts(net(kind)(torch.zeros(5, 0, 3, dtype=F64)))
    assert out.shape == (5, 0, 6)
    assert all(state.shape == (1, 0, 6) for state in last)
    made = KINDS[kind](3, 6, reflectors=2, generator=generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = made(torch.ones(4, 2, 3))[0]
    out.sum().backward()
    assert made.reflectors_u_l0.grad is not None
    assert out.dtype == torch.float32


@kinds
def test_what_is_refused(kind):
    with pytest.raises(ReflectorCountError, match="from 0 to 6"):
        KINDS[kind](3, 6, reflectors=7)
    with pytest.raises(RangeError, match="num_layers"):
        net(kind, 3, 6, 0)
    made = net(kind)
    with pytest.raises(ShapeError, match=r"\(T, B, 3\)"):
        made(torch.zeros(5, 2, 4, dtype=F64))
    with pytest.raises(ShapeError, match=r"without a batch \(T, 3\).* found \(5,\)"):
        made(torch.zeros(5, dtype=F64))
    with pytest.raises(ShapeError, match=r"h_0.* must have shape"):
        made(draw(5, 2, 3), starts(kind, 1, 3, 6)[1])
    with pytest.raises(RangeError, match=r"\[1, 5\]"):
        made(draw(5, 2, 3), lengths=torch.tensor([0, 5]))
    pack = KINDS[kind].pack([made, net(kind, seed=1)])
    with pytest.raises(PackError, match=r"\.trial\(k\)"):
        plain(pack)
    with pytest.raises(PackError, match="agree in hidden_size"):
        KINDS[kind].pack([made, net(kind, 3, 7)])
    assert "reflectors=(3, 4)" in repr(made)
