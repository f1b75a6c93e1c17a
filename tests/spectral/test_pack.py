"""A trial in a pack computes what it computes alone."""

import pytest
import torch
from torch import nn

from spectral import BACKENDS, PackedLinear, SpectralRNN, stack_trials
from spectral.errors import PackError, ShapeError
from tests.spectral.agreement import activations, assert_near, draw, generator, gradients, move_offsets, named

F64 = torch.float64
SLOTS = [
    {"reflectors": (3, 4), "margin": 0.3},
    {"reflectors": (6, 1), "margin": 0.01, "sigma": 0.8},
    {"reflectors": 2, "margin": 1.0},
]


def trials(**options):
    made = []
    for k, slot in enumerate(SLOTS):
        trial = SpectralRNN(3, 6, dtype=F64, generator=generator(k), **slot, **options)
        with torch.no_grad():
            for parameter in trial.singular_parameters():
                parameter += draw(*parameter.shape, seed=k)
        move_offsets(trial, seed=k)
        made.append(trial)
    return made


def assert_pack_is_its_trials(pack, alone, x, h0=None, **options):
    x, h0 = x.requires_grad_(), None if h0 is None else h0.requires_grad_()
    out, h_n = pack(x, h0, **options)
    weight = draw(*out.shape, seed=9)
    inputs = [x, *([] if h0 is None else [h0]), *pack.parameters()]
    grads = gradients(out, inputs)
    for k, trial in enumerate(alone):
        own_x, own_h0 = x.detach()[k].requires_grad_(), None if h0 is None else h0.detach()[k].requires_grad_()
        own, own_n = trial(own_x, own_h0, **options)
        assert_near(out[k], own, 4000, f"trial {k}: output")
        assert_near(h_n[k], own_n, 4000, f"trial {k}: h_n")
        own_inputs = [own_x, *([] if h0 is None else [own_h0]), *trial.parameters()]
        expected = torch.autograd.grad((own * weight[k]).sum(), own_inputs)
        for found, e in zip(grads, expected, strict=True):
            assert_near(found[k][..., : e.shape[-1]], e, 4000, f"trial {k}")
            assert not found[k][..., e.shape[-1] :].any()


@pytest.mark.parametrize(
    ("backend", "nonlinearity"),
    [named(backend, name) for backend in ("auto", *BACKENDS) for name in activations(backend)],
)
def test_a_packed_trial_equals_the_same_trial_alone(backend, nonlinearity):
    alone = trials(backend=backend, nonlinearity=nonlinearity)
    assert_pack_is_its_trials(SpectralRNN.pack(alone), alone, draw(3, 5, 2, 3), draw(3, 1, 2, 6, seed=1))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("spectrum", ["sigmoid", "clip", "penalty", "fixed"])
def test_with_every_option(batch_first, spectrum):
    alone = trials(num_layers=2, bidirectional=True, batch_first=batch_first, spectrum=spectrum)
    x = draw(3, 2, 5, 3) if batch_first else draw(3, 5, 2, 3)
    lengths = torch.tensor([3, 5])
    assert_pack_is_its_trials(SpectralRNN.pack(alone), alone, x, draw(3, 4, 2, 6, seed=1), lengths=lengths)


def test_lengths_may_differ_by_trial_and_input_may_be_unbatched():
    alone = trials(bidirectional=True)
    pack, x = SpectralRNN.pack(alone), draw(3, 5, 2, 3)
    lengths = torch.tensor([[3, 5], [1, 2], [5, 5]])
    out, h_n = pack(x, lengths=lengths)
    for k, trial in enumerate(alone):
        own, own_n = trial(x[k], lengths=lengths[k])
        assert_near(out[k], own, 4000)
        assert_near(h_n[k], own_n, 4000)
    out, h_n = pack(x[:, :, 0])
    assert out.shape == (3, 5, 12)
    assert h_n.shape == (3, 2, 6)


def test_padding_stays_zero_through_training_and_the_trial_comes_out_as_alone():
    alone = trials()
    pack = SpectralRNN.pack(alone)
    x = draw(3, 5, 2, 3)
    together = torch.optim.AdamW(pack.parameters(), lr=0.1, weight_decay=0.1)
    apart = [torch.optim.AdamW(trial.parameters(), lr=0.1, weight_decay=0.1) for trial in alone]
    for _ in range(3):
        for optimizer in (together, *apart):
            optimizer.zero_grad()
        pack(x)[0].square().sum().backward()
        for k, trial in enumerate(alone):
            trial(x[k])[0].square().sum().backward()
        for optimizer in (together, *apart):
            optimizer.step()
    assert not pack.reflectors_u_l0[0, :, 3:].any()
    for k, trial in enumerate(alone):
        for found, expected in zip(pack.trial(k).parameters(), trial.parameters(), strict=True):
            assert_near(found, expected, 10**6)


def test_a_nan_in_one_slot_leaves_the_others_bit_for_bit():
    x = draw(3, 5, 2, 3)

    def run(broken):
        pack = SpectralRNN.pack(trials(nonlinearity="relu", num_layers=2))
        if broken:
            with torch.no_grad():
                pack.reflectors_u_l0[1, 2, 0] = torch.nan
                pack.weight_ih_l1[1] = torch.inf
        out, _ = pack(x)
        return [out, *gradients(out, list(pack.parameters()))]

    whole, beside = run(False), run(True)
    assert beside[0][1].isnan().any()
    for w, b in zip(whole, beside, strict=True):
        assert torch.equal(w[[0, 2]], b[[0, 2]])


def test_pack_and_trial_are_inverse_and_a_pack_can_be_compacted():
    alone = trials(num_layers=2)
    pack = SpectralRNN.pack(alone)
    assert pack.trials == 3
    assert pack.slots[1].reflectors == (6, 1)
    smaller = SpectralRNN.pack([pack.trial(0), pack.trial(2)])
    assert smaller.reflectors_v_l0.shape == (2, 6, 4)
    x = draw(2, 5, 2, 3)
    for k, trial in enumerate((alone[0], alone[2])):
        assert_near(smaller(x)[0][k], trial(x[k])[0], 4000)
        again = smaller.trial(k)
        assert again.trials is None
        assert again.slots == trial.slots
        for (name, found), (_, expected) in zip(again.named_parameters(), trial.named_parameters(), strict=True):
            assert torch.equal(found, expected), name


def test_a_pack_of_one():
    (first, *_) = trials()
    assert_pack_is_its_trials(SpectralRNN.pack([first]), [first], draw(1, 4, 2, 3))


def test_state_dict_of_a_pack():
    pack, other = SpectralRNN.pack(trials()), SpectralRNN.pack(trials())
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    other.load_state_dict(pack.state_dict())
    x = draw(3, 4, 2, 3)
    assert torch.equal(other(x)[0], pack(x)[0])


def test_penalty_and_singular_values_are_per_trial():
    alone = trials(spectrum="penalty", num_layers=2)
    pack = SpectralRNN.pack(alone)
    assert pack.singular_values().shape == (3, 2, 6)
    for k, trial in enumerate(alone):
        assert_near(pack.penalty()[k], trial.penalty(), 12)


@pytest.mark.parametrize("bias", [True, False])
def test_packed_linear_is_its_layers(bias):
    layers = [nn.Linear(4, 3, bias, dtype=F64) for _ in range(2)]
    pack, x = PackedLinear.pack(layers), draw(2, 5, 3, 4)
    assert pack.weight.shape == (2, 3, 4)
    for k, layer in enumerate(layers):
        assert_near(pack(x)[k], layer(x[k]), 16)
        assert_near(pack(x[:, 0, 0])[k], layer(x[k, 0, 0]), 16)
        assert torch.equal(pack.trial(k).weight, layer.weight)
    made = PackedLinear(2, 4, 3, bias, dtype=F64, generator=generator())
    assert made.weight.abs().max() <= 0.5
    assert made(x[:, :0]).shape == (2, 0, 3, 3)


def test_what_is_refused():
    first, second, _ = trials()
    with pytest.raises(PackError, match="at least one"):
        SpectralRNN.pack([])
    with pytest.raises(PackError, match="agree in hidden_size"):
        SpectralRNN.pack([first, SpectralRNN(3, 7, reflectors=2, dtype=F64)])
    with pytest.raises(PackError, match="dtype"):
        SpectralRNN.pack([first, SpectralRNN(3, 6, reflectors=2)])
    pack = SpectralRNN.pack([first, second])
    with pytest.raises(PackError, match="single trials"):
        SpectralRNN.pack([pack, first])
    with pytest.raises(PackError, match="from 0 to 1"):
        pack.trial(2)
    with pytest.raises(ShapeError, match=r"\(2, T, B, 3\)"):
        pack(draw(3, 5, 2, 3))
    with pytest.raises(ShapeError, match="no trial axis"):
        pack(nn.utils.rnn.pack_sequence([draw(3, 3)]))
    with pytest.raises(PackError, match="agree in shape"):
        PackedLinear.pack([nn.Linear(3, 2), nn.Linear(4, 2)])
    with pytest.raises(ShapeError, match=r"\(2, \.\.\., 3\)"):
        PackedLinear(2, 3, 1)(torch.zeros(1, 3))
    with pytest.raises(PackError, match="last dimension"):
        stack_trials([draw(2, 3), draw(3, 3)])


def test_stacking_pads_the_last_dimension_and_no_other():
    assert stack_trials([torch.tensor(1.0), torch.tensor(2.0)]).tolist() == [1.0, 2.0]
    assert stack_trials([torch.ones(1), torch.ones(2)]).tolist() == [[1.0, 0.0], [1.0, 1.0]]
    for unlike in ([torch.tensor(1.0), torch.ones(2)], [torch.ones(2), torch.ones(1, 2)], [torch.ones(2), draw(2)]):
        with pytest.raises(PackError, match="must agree"):
            stack_trials(unlike)


@pytest.mark.parametrize("spectrum", ["sigmoid", "clip", "penalty", "fixed"])
def test_a_trial_that_is_set_into_a_pack_equals_the_same_trial_alone_and_changes_no_other(spectrum):
    alone = trials(num_layers=2, spectrum=spectrum)
    pack = SpectralRNN.pack(alone)
    tensors = [parameter.data_ptr() for parameter in pack.parameters()]
    other = SpectralRNN(
        3,
        6,
        dtype=F64,
        generator=generator(7),
        num_layers=2,
        spectrum=spectrum,
        reflectors=(1, 3),
        margin=0.2,
        sigma=0.9,
    )
    pack.set_trial(1, other)
    assert [parameter.data_ptr() for parameter in pack.parameters()] == tensors
    assert pack.slots[1] == other.slots[0]
    assert_pack_is_its_trials(pack, [alone[0], other, alone[2]], draw(3, 5, 2, 3))
    for own, found in zip(other.parameters(), pack.trial(1).parameters(), strict=True):
        assert torch.equal(own, found)


def test_a_trial_around_zero_is_set_only_where_the_pack_has_such_a_band():
    zero = SpectralRNN(3, 6, dtype=F64, generator=generator(7), reflectors=1, margin=0.2, sigma=0.0)
    pack = SpectralRNN.pack(trials())
    assert not pack.takes(zero)
    with pytest.raises(PackError, match="sigma 0"):
        pack.set_trial(0, zero)
    alone = [zero, trials()[1]]
    pack = SpectralRNN.pack(alone)
    other = SpectralRNN(3, 6, dtype=F64, generator=generator(8), reflectors=(2, 1), margin=0.3, sigma=1.0)
    assert not pack.takes(SpectralRNN(3, 6, dtype=F64, generator=generator(8), reflectors=6))  # wider than (6, 1)
    pack.set_trial(0, other)
    assert_pack_is_its_trials(pack, [other, alone[1]], draw(2, 5, 2, 3))


def test_what_is_set_into_a_pack_must_agree_with_it():
    pack, single = SpectralRNN.pack(trials()), trials()[0]
    with pytest.raises(PackError, match="activation"):
        pack.set_trial(0, SpectralRNN(3, 6, nonlinearity="relu", dtype=F64, reflectors=1))
    with pytest.raises(PackError, match="k, the number"):
        pack.set_trial(3, single)
    with pytest.raises(PackError, match="single trial"):
        single.set_trial(0, single)
    with pytest.raises(PackError, match="pack itself"):
        pack.set_trial(0, pack)
