"""spectral.spectral_svd holds a weight of any torch module as U diag(sigma) V^T."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import cached, is_parametrized, remove_parametrizations

from spectral import parametrize, spectral_svd
from spectral.errors import BandError, OptionError, RangeError, ReflectorCountError, ShapeError
from tests.spectral.agreement import assert_near, draw, generator, gradients

F64 = torch.float64
CASES = {
    "linear": (lambda: nn.Linear(5, 3), "weight", (2, 5)),
    "wide linear": (lambda: nn.Linear(3, 7), "weight", (2, 3)),
    "conv1d": (lambda: nn.Conv1d(2, 4, 3), "weight", (2, 2, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2), "weight", (2, 4, 5, 5)),
    "transposed conv": (lambda: nn.ConvTranspose2d(2, 4, 3), "weight", (2, 2, 5, 5)),
    "rnn": (lambda: nn.RNN(3, 6, 2, bidirectional=True), "weight_hh_l1_reverse", (5, 2, 3)),
    "lstm": (lambda: nn.LSTM(3, 6), "weight_hh_l0", (5, 2, 3)),
    "lstm input": (lambda: nn.LSTM(3, 6), "weight_ih_l0", (5, 2, 3)),
    "gru": (lambda: nn.GRU(3, 6), "weight_hh_l0", (5, 2, 3)),
    "lstm cell": (lambda: nn.LSTMCell(3, 6), "weight_hh", (2, 3)),
    "embedding": (lambda: nn.Embedding(5, 3), "weight", None),
}
cases = pytest.mark.parametrize("case", list(CASES))


def plain(case):
    torch.manual_seed(0)
    return CASES[case][0]().double()


def made(case, **options):
    options = {"generator": generator(), "margin": 0.2} | options
    return spectral_svd(plain(case), CASES[case][1], **options)


def call(module, case):
    shape = CASES[case][2]
    states = [(draw(2, 6, seed=1), draw(2, 6, seed=2))] if isinstance(module, nn.LSTMCell) else []
    out = module(torch.arange(4) if shape is None else draw(*shape), *states)
    return out[0] if isinstance(out, tuple) else out


def svd_of(module, case):
    return module.parametrizations[CASES[case][1]][0].svd


def singular_values(weight):
    return torch.linalg.svdvals(weight.detach().flatten(1))


@cases
def test_the_weight_has_its_singular_values_in_the_band_through_training(case):
    module, name = made(case), CASES[case][1]
    shape = getattr(plain(case), name).shape
    optimizer = torch.optim.Adam(module.parameters(), lr=0.3)
    for _ in range(4):
        optimizer.zero_grad()
        (-call(module, case).square().sum()).backward()
        optimizer.step()
        svd_of(module, case).normalize_()
    assert getattr(module, name).shape == shape
    assert (singular_values(getattr(module, name)) - 1).abs().max() <= 0.2 + 1e-13
    assert (svd_of(module, case).singular_values() - 1).abs().max() > 0.01, "sigma has moved"


@cases
def test_it_computes_what_the_plain_module_does_over_the_same_weight(case):
    """Compare outputs and all gradients; that of the weight is carried on to the reflectors and sigma."""
    module, name = made(case), CASES[case][1]
    own = plain(case)
    weight = getattr(module, name)
    with torch.no_grad():
        getattr(own, name).copy_(weight)
    out, expected = call(module, case), call(own, case)
    assert_near(out, expected, 1000)
    shared = [n for n, _ in own.named_parameters() if n != name]
    leaves = list(svd_of(module, case).parameters())
    found = gradients(out, [*leaves, *(getattr(module, n) for n in shared)])
    of_weight, *others = gradients(expected, [getattr(own, n) for n in (name, *shared)])
    through = torch.autograd.grad(weight, leaves, of_weight)
    for n, f, e in zip([*"uvs", *shared], found, [*through, *others], strict=True):
        assert_near(f, e, 1000, n)


@cases
def test_start_weight_changes_nothing(case):
    module = made(case, init="weight", spectrum="penalty")
    assert_near(getattr(module, CASES[case][1]), getattr(plain(case), CASES[case][1]), 1000)
    assert_near(call(module, case), call(plain(case), case), 1000)


def test_start_weight_within_a_band():
    layer = nn.Linear(6, 6).double()
    nn.init.orthogonal_(layer.weight)
    before = layer.weight.detach().clone()
    assert_near(spectral_svd(layer, init="weight").weight, before, 100)


def test_start_weight_that_does_not_fit_says_why():
    with pytest.raises(OptionError, match=r"sigmoid map keeps .* margin") as found:
        spectral_svd(nn.Linear(6, 6), init="weight")
    assert isinstance(found.value.__cause__, BandError)
    layer = nn.Linear(6, 6)
    nn.init.orthogonal_(layer.weight)
    with pytest.raises(OptionError, match="2 reflectors do not reach"):
        spectral_svd(layer, init="weight", reflectors=2)
    assert not is_parametrized(layer), "the module stays as it was"


@cases
def test_assignment_state_dict_and_copies(case):
    module, name = made(case), CASES[case][1]
    call(module, case).sum().backward()
    again = copy.deepcopy(module)
    assert torch.equal(call(again, case), call(module, case))
    other = made(case, generator=generator(5))
    assert not torch.equal(call(other, case), call(module, case))
    other.load_state_dict(module.state_dict())
    assert torch.equal(call(other, case), call(module, case))
    with torch.no_grad():
        setattr(again, name, getattr(made(case, generator=generator(9)), name))
    assert_near(getattr(again, name), getattr(made(case, generator=generator(9)), name), 1000)
    names = {n.rsplit(".", 1)[-1] for n in module.state_dict() if n.startswith("parametrizations")}
    assert names == {"reflectors_u", "reflectors_v", "singular", "_extra_state"}


@cases
def test_removal_leaves_the_plain_module(case):
    module, name = made(case), CASES[case][1]
    before = call(module, case)
    remove_parametrizations(module, name)
    assert type(module) is type(plain(case))
    assert isinstance(getattr(module, name), nn.Parameter)
    assert_near(call(module, case), before, 1000)
    call(module, case).sum().backward()
    assert getattr(module, name).grad is not None


@pytest.mark.parametrize("start", ["gaussian", "henaff"])
@pytest.mark.parametrize(("case", "count"), [("lstm", 4), ("gru", 3), ("lstm cell", 4)])
def test_gates_are_apart(case, count, start):
    module, name = made(case, gates=True, init=start), CASES[case][1]
    svd = svd_of(module, case)
    assert svd.trials == count
    with torch.no_grad():
        svd.singular += draw(count, 6)
    gates = getattr(module, name).detach().chunk(count)
    for k, gate in enumerate(gates):
        assert_near(singular_values(gate), svd.singular_values()[k].sort(descending=True)[0], 100)
    assert not torch.equal(gates[0], gates[1])
    with torch.no_grad():
        setattr(module, name, torch.cat([gates[1], *gates[1:]]))
    assert_near(getattr(module, name), torch.cat([gates[1], *gates[1:]]), 100)
    again = spectral_svd(remove_parametrizations(module, name), name, init="weight", margin=0.2, gates=True)
    assert_near(getattr(again, name), torch.cat([gates[1], *gates[1:]]), 100)


def test_options_are_the_matrixs():
    layer = spectral_svd(nn.Linear(6, 6), reflectors=(1, 2), spectrum="fixed", sigma=0.5, generator=generator())
    assert layer.parametrizations.weight[0].svd.slots[0].reflectors == (1, 2)
    assert_near(singular_values(layer.weight), torch.full((6,), 0.5), 100)
    frozen = nn.Linear(6, 6).requires_grad_(False)
    assert not any(p.requires_grad for p in spectral_svd(frozen, reflectors=1).parameters())
    identity = spectral_svd(nn.Linear(6, 6), reflectors=2, init="identity")
    assert_near(identity.weight, torch.eye(6), 100)


def test_casts_autocast_and_the_cache():
    module = made("lstm").float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert module.weight_hh_l0.dtype == torch.float32
    layer = spectral_svd(nn.Linear(4, 4), margin=0.2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(torch.ones(2, 4)).sum().backward()
    assert layer.parametrizations.weight[0].svd.singular.grad is not None
    with cached():
        assert layer.weight is layer.weight


@pytest.mark.parametrize("case", ["rnn", "lstm", "gru"])
def test_a_cached_weight_gets_the_gradient_of_every_call(case):
    module = made(case)
    leaves = list(svd_of(module, case).parameters())
    apart = gradients(call(module, case) + call(module, case).square(), leaves)
    with cached():
        found = gradients(call(module, case) + call(module, case).square(), leaves)
    for f, e in zip(found, apart, strict=True):
        assert_near(f, e, 1000)


def test_two_weights_of_one_module():
    module = spectral_svd(made("lstm"), "weight_ih_l0", reflectors=2)
    call(module, "lstm").sum().backward()
    copy.deepcopy(module)
    assert len(module._forward_hooks) == 1
    assert (singular_values(module.weight_ih_l0) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("gates", [False, True])
def test_a_weight_of_another_shape_is_refused_and_nothing_changes(gates):
    module = made("lstm", gates=gates)
    before = module.weight_hh_l0.detach()
    for shape in [(23, 6), (20, 6), (24, 5), (24,), (24, 6, 1), ()]:
        with pytest.raises(ShapeError, match=r"must have shape \(24, 6\)"):
            module.weight_hh_l0 = torch.zeros(shape, dtype=F64)
    assert torch.equal(module.weight_hh_l0, before)


@cases
@pytest.mark.parametrize("spectrum", ["sigmoid", "clip"])
def test_a_weight_at_the_edge_of_its_band_can_be_assigned_to_itself(case, spectrum):
    module, name = made(case, spectrum=spectrum), CASES[case][1]
    with torch.no_grad():
        svd_of(module, case).singular.copy_(torch.full_like(svd_of(module, case).singular, 30.0))
        before = getattr(module, name).clone()
        setattr(module, name, getattr(module, name))
    assert_near(getattr(module, name), before, 10_000)


@cases
def test_calls_with_other_parameters(case):
    module, other = made(case), made(case, generator=generator(5))
    inputs = torch.arange(4) if CASES[case][2] is None else draw(*CASES[case][2])
    states = ((draw(2, 6, seed=1), draw(2, 6, seed=2)),) if case == "lstm cell" else ()
    found = torch.func.functional_call(module, dict(other.named_parameters()), (inputs, *states))
    found = found[0] if isinstance(found, tuple) else found
    assert_near(found, call(other, case), 1000)
    assert not torch.equal(found, call(module, case))


def test_the_old_name_still_works_with_a_warning():
    with pytest.warns(DeprecationWarning, match="parametrize is now named spectral.spectral_svd"):
        layer = parametrize(nn.Linear(4, 4), reflectors=2, generator=generator())
    assert torch.equal(layer.weight, spectral_svd(nn.Linear(4, 4), reflectors=2, generator=generator()).weight)
    with pytest.warns(DeprecationWarning, match="'start' is now named 'init'"):
        spectral_svd(nn.Linear(4, 4), start="identity")
    with pytest.raises(TypeError, match="both are given"):
        spectral_svd(nn.Linear(4, 4), start="identity", init="identity")


def test_what_is_refused():
    with pytest.raises(OptionError, match="no parameter 'weights'; it has weight, bias"):
        spectral_svd(nn.Linear(3, 3), "weights")
    with pytest.raises(OptionError, match="no direct parameters"):
        spectral_svd(nn.Sequential(nn.Linear(3, 3)))
    with pytest.raises(ShapeError, match="two dimensions"):
        spectral_svd(nn.Linear(3, 3), "bias")
    with pytest.raises(OptionError, match="init must be one of"):
        spectral_svd(nn.Linear(3, 3), init="zeros")
    with pytest.raises(OptionError, match="gates=True is for"):
        spectral_svd(nn.RNN(3, 3), "weight_hh_l0", gates=True)
    with pytest.raises(ReflectorCountError, match="square"):
        spectral_svd(nn.Linear(3, 4), init="identity")
    with pytest.raises(ReflectorCountError, match="from 0 to 3"):
        spectral_svd(nn.Linear(3, 4), reflectors=4)
    with pytest.raises(RangeError, match="margin"):
        spectral_svd(nn.Linear(3, 4), margin=2.0)
    with pytest.raises(OptionError, match="parametrized already"):
        spectral_svd(spectral_svd(nn.Linear(3, 4)))


def test_every_weight_of_an_lstm_can_have_gates():
    lstm = torch.nn.LSTM(4, 8, 2)
    for name in ("weight_hh_l0", "weight_hh_l1", "weight_ih_l1"):
        spectral_svd(lstm, name, gates=True)
    assert lstm(torch.randn(3, 2, 4))[0].shape == (3, 2, 8)
