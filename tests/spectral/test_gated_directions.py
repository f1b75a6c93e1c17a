"""SpectralLSTM and SpectralGRU in two directions and with projections, against torch's over the same matrices."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from spectral import SpectralGRU, SpectralLSTM, gated_steps
from spectral.errors import BandError, PackError, ReflectorCountError, ShapeError
from tests.spectral.agreement import assert_near, draw, generator, gradients, parts

F64 = torch.float64
CASES = [
    ("lstm", {"bidirectional": True}),
    ("gru", {"bidirectional": True}),
    ("lstm", {"proj_size": 4}),
    ("lstm", {"proj_size": 4, "bidirectional": True}),
    ("lstm", {"proj_size": 1, "bidirectional": True, "spectrum": "clip"}),
    ("lstm", {"proj_size": 3, "spectrum": "fixed", "bias": False}),
]
cases = pytest.mark.parametrize(("kind", "options"), CASES, ids=str)

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


def net(kind, *sizes, seed=0, **options):
    cls = {"lstm": SpectralLSTM, "gru": SpectralGRU}[kind]
    small = options.get("proj_size") or 6
    options = {"reflectors": (min(3, small), min(4, small)), "margin": 0.3} | options
    made = cls(*(sizes or (3, 6, 2)), dtype=F64, generator=generator(seed), **options)
    with torch.no_grad():
        for parameter in made.singular_parameters():
            parameter += draw(*parameter.shape, seed=seed + 1)
    return made


def plain(made):
    return made.to_lstm() if isinstance(made, SpectralLSTM) else made.to_gru()


def joined(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def starts(made, *lead, batch=()):
    rows = made.num_layers * (1 + made.bidirectional)
    widths = [made.proj_size or made.hidden_size, made.hidden_size][: 2 if made.mode == "LSTM" else 1]
    states = [draw(*lead, rows, *batch, width, seed=3 + i).requires_grad_() for i, width in enumerate(widths)]
    return states, tuple(states) if made.mode == "LSTM" else states[0]


@cases
@pytest.mark.parametrize("batch_first", [False, True])
def test_results_and_gradients_are_those_of_torch(kind, options, batch_first):
    made = net(kind, batch_first=batch_first, **options)
    torchs = plain(made)
    x = draw(2, 5, 3).requires_grad_()
    states, h0 = starts(made, batch=(5,) if not batch_first else (2,))
    found, expected = parts(made(x, h0)), parts(torchs(x, h0))
    for f, e in zip(found, expected, strict=True):
        assert_near(f, e, 2000)
    ends = [f"_l{layer}{end}" for layer in range(2) for end in ("", "_reverse")[: 1 + made.bidirectional]]
    shared = [f"weight_ih{end}" for end in ends] + [f"weight_hr{end}" for end in ends if made.proj_size]
    leaves = [[x, *states, *(m.get_parameter(name) for name in shared)] for m in (made, torchs)]
    for f, e in zip(
        *(gradients(joined(p), own) for p, own in zip((found, expected), leaves, strict=True)), strict=True
    ):
        assert_near(f, e, 2000)
    for layer in range(2):
        for reverse in (False, True)[: 1 + made.bidirectional]:
            end = f"_l{layer}" + ("_reverse" if reverse else "")
            of_w = gradients(joined(parts(torchs(x, h0))), [torchs.get_parameter(f"weight_hh{end}")])
            names = ["reflectors_u", "reflectors_v"] + (["singular"] if made.spectrum != "fixed" else [])
            own = [made.get_parameter(f"{name}{end}") for name in names]
            through = torch.autograd.grad(made.dense(layer, reverse=reverse), own, of_w)
            for name, f, e in zip(names, gradients(joined(parts(made(x, h0))), own), through, strict=True):
                assert_near(f, e, 4000, name)


@cases
def test_without_a_batch(kind, options):
    made = net(kind, batch_first=True, **options)
    _, h0 = starts(made)
    for f, e in zip(parts(made(draw(5, 3), h0)), parts(plain(made)(draw(5, 3), h0)), strict=True):
        assert_near(f, e, 2000)


@cases
@pytest.mark.parametrize("batch_first", [False, True])
def test_packed_sequences_and_lengths(kind, options, batch_first):
    made = net(kind, batch_first=batch_first, **options)
    lengths = torch.tensor([3, 5, 1, 3])
    x = draw(4, 5, 3) if batch_first else draw(5, 4, 3)
    _, h0 = starts(made, batch=(4,))
    packed = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    expected = parts(plain(made)(packed, h0))
    whole, _ = pad_packed_sequence(expected[0], batch_first)
    own, padded = parts(made(packed, h0)), parts(made(x, h0, lengths=lengths))
    assert_near(own[0].data, expected[0].data, 2000)
    assert_near(padded[0], whole, 2000)
    for o, p, e in zip(own[1:], padded[1:], expected[1:], strict=True):
        assert_near(o, e, 2000)
        assert_near(p, e, 2000)


@cases
@pytest.mark.parametrize("lengths", [None, [3, 5], [[3, 5], [1, 2]]], ids=str)
def test_a_packed_trial_equals_the_same_trial_alone(kind, options, lengths):
    small = options.get("proj_size") or 6
    slots = [{"reflectors": (small, 1)}, {"reflectors": (1, min(2, small)), "margin": 0.1, "sigma": 0.8}]
    alone = [net(kind, seed=k, **{**options, **slot}) for k, slot in enumerate(slots)]
    pack = type(alone[0]).pack(alone)
    x, lengths = draw(2, 5, 2, 3), None if lengths is None else torch.tensor(lengths)
    states, h0 = starts(alone[0], 2, batch=(2,))
    result = parts(pack(x, h0, lengths=lengths))
    for k, trial in enumerate(alone):
        own_h0 = tuple(state[k] for state in states) if kind == "lstm" else h0[k]
        ends = lengths if lengths is None or lengths.dim() == 1 else lengths[k]
        for f, e in zip(result, parts(trial(x[k], own_h0, lengths=ends)), strict=True):
            assert_near(f[k], e, 4000)
        assert_near(pack.dense(1)[k], trial.dense(1), 400)
        assert_near(pack.singular_values()[k], trial.singular_values(), 1)
        again = pack.trial(k)
        assert pack.free_parameters(k) == again.free_parameters() == trial.free_parameters()
        for f, e in zip(again.parameters(), trial.parameters(), strict=True):
            assert torch.equal(f, e)
    with pytest.raises(PackError, match=r"\.trial\(k\)"):
        plain(pack)


@cases
def test_every_gate_has_singular_values_in_the_band(kind, options):
    made = net(kind, **options)
    gates = [made.dense(1, reverse=flag).split(6) for flag in (False, True)[: 1 + made.bidirectional]]
    low, high = (1.0, 1.0) if made.spectrum == "fixed" else (0.7, 1.3)
    for gate in (each for direction in gates for each in direction):
        assert gate.shape == (6, made.proj_size or 6)
        values = torch.linalg.svdvals(gate)
        assert (values >= low - 1e-13).all()
        assert (values <= high + 1e-13).all()
    held = made.singular_values()
    assert held.shape == (2 * (1 + made.bidirectional) * made.gates, made.proj_size or 6)
    last = torch.cat([torch.linalg.svdvals(gate) for gate in gates[-1]])
    assert_near(held[-made.gates :].flatten().sort()[0], last.sort()[0], 400)


@cases
def test_set_dense_takes_over_the_matrices_of_one_direction(kind, options):
    if options.get("spectrum") == "fixed":
        options = {**options, "spectrum": "clip"}
    full = options.get("proj_size") or 6
    made, other = net(kind, reflectors=full, **options), net(kind, seed=5, **options)
    before, reverse = made.dense(1), made.bidirectional
    made.set_dense(other.dense(0, reverse=reverse), 0, reverse=reverse)
    assert_near(made.dense(0, reverse=reverse), other.dense(0, reverse=reverse), 400)
    assert torch.equal(made.dense(1), before)
    with pytest.raises(ShapeError, match=rf"w must be real and have shape \({6 * made.gates}, {full}\)"):
        made.set_dense(other.dense()[:6])
    with pytest.raises(BandError):
        made.set_dense(2 * other.dense())
    if full > 1:
        with pytest.raises(ReflectorCountError):
            net(kind, **{**options, "reflectors": 1}).set_dense(other.dense())


@cases
def test_free_parameters_are_what_is_stored_without_the_zeros(kind, options):
    made = net(kind, **options)
    m1, m2 = made.slots[0].reflectors
    zeros = (m1 * (m1 - 1) + m2 * (m2 - 1)) // 2 * made.gates * 2 * (1 + made.bidirectional)
    assert made.free_parameters() == sum(p.numel() for p in made.parameters()) - zeros


def test_names_of_parameters_are_those_of_torch_but_for_the_matrices():
    made = net("lstm", 3, 6, 1, bidirectional=True, proj_size=4)
    stems = ["weight_ih", "bias", "reflectors_u", "reflectors_v", "singular", "weight_hr"]
    expected = [f"{stem}_l0{end}" for end in ("", "_reverse") for stem in stems]
    assert [name for name, _ in made.named_parameters()] == expected
    shapes = {name: tuple(parameter.shape) for name, parameter in made.named_parameters()}
    assert shapes["reflectors_v_l0_reverse"] == (4, 4, 4)
    assert shapes["singular_l0"] == (4, 4)
    assert shapes["weight_hr_l0"] == (4, 6)


def test_a_projected_lstm_has_no_square_transition():
    made = net("lstm", proj_size=4)
    with pytest.raises(ShapeError, match=r"proj_size=4 .* 6 x 4 entries; call dense\(\) or singular_values\(\)"):
        made.transition()
    with pytest.raises(ShapeError, match="proj_size=4"):
        next(made.transitions())
    both = net("lstm", bidirectional=True)
    assert_near(both.transition(1, reverse=True).matrix().flatten(0, 1), both.dense(1, reverse=True), 1)
    assert len(list(both.transitions())) == 4
    with pytest.raises(AttributeError):
        net("lstm").transition(reverse=True)


@cases
def test_dropout_lies_between_layers_and_only_in_training(kind, options):
    made, x = net(kind, dropout=1.0, **options), draw(4, 2, 3)
    assert torch.equal(made(x)[0], made(2 * x)[0])
    assert not torch.equal(made.eval()(x)[0], made(2 * x)[0])


@cases
def test_the_loop_of_steps_is_torchs_kernel(kind, options):
    made = net(kind, **options)
    x, lengths = draw(5, 3, 3), torch.tensor([3, 5, 1])
    states, h0 = starts(made, batch=(3,))
    layers = gated_steps.layers_of(made._all_plain_weights(), 2, 1 + made.bidirectional, bias=made.bias)
    output, last = gated_steps.run(made._step, x, tuple(states), layers, lengths, dropout=0.0)
    for f, e in zip([output, *last], parts(made(x, h0, lengths=lengths)), strict=True):
        assert_near(f, e, 2000)
