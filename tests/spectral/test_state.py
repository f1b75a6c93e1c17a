"""What a state dict holds, and modules on meta, copied, frozen, compiled, or called with other parameters."""

import copy
import io
import json
import pickle

import pytest
import torch
from torch import nn

from spectral import SVD, SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN, spectral_svd
from spectral.errors import SpectralError, StateMismatchError
from tests.spectral.agreement import assert_near, draw, generator

F64 = torch.float64
BUILD = {
    "svd": lambda **o: SVD(4, 4, dtype=F64, generator=generator(), **o),
    "linear": lambda **o: SpectralLinear(4, 4, dtype=F64, generator=generator(), **o),
    "rnn": lambda **o: SpectralRNN(4, 4, dtype=F64, generator=generator(), **{"reflectors": 3} | o),
    "lstm": lambda **o: SpectralLSTM(4, 4, dtype=F64, generator=generator(), **{"reflectors": 3} | o),
    "gru": lambda **o: SpectralGRU(4, 4, dtype=F64, generator=generator(), **{"reflectors": 3} | o),
    "weight": lambda **o: spectral_svd(nn.Linear(4, 4, dtype=F64), generator=generator(), **o),
}
kinds = pytest.mark.parametrize("kind", list(BUILD))
packs = pytest.mark.parametrize("kind", [kind for kind in BUILD if kind != "weight"])


def output(net, x=None):
    x = draw(*(() if getattr(net, "trials", None) is None else (net.trials,)), 5, 2, 4) if x is None else x
    out = net(x)
    return out[0] if isinstance(out, tuple) else out


def pack_of(kind, *options):
    alone = [BUILD[kind](**own) for own in options]
    return type(alone[0]).pack(alone)


def emptied(net):
    """Return a copy with other values in every parameter."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5).add_(0.1)
    return other


@kinds
def test_every_value_is_a_tensor_and_says_what_the_matrices_are(kind):
    net = BUILD[kind](margin=0.3, sigma=0.5, reflectors=(2, 3))
    state = net.state_dict()
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    (key,) = [key for key in state if key.endswith("_extra_state")]
    assert state[key].dtype == torch.float32
    told = json.loads(bytes(state[key].to(torch.uint8).tolist()))
    assert told == {"spectrum": "sigmoid", "reflectors": [[2, 3]], "margin": [0.3], "sigma": [0.5]}


@kinds
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("other", [{"margin": 0.2}, {"sigma": 0.9}, {"spectrum": "clip"}, {"reflectors": 2}])
def test_another_configuration_is_refused_before_anything_changes(kind, strict, other):
    net, target = BUILD[kind](margin=0.3), BUILD[kind](**{"margin": 0.3} | other)
    before = {name: p.detach().clone() for name, p in target.named_parameters()}
    (name,) = other
    with pytest.raises(StateMismatchError, match=rf"is of another \w+: {name} is .* there and .* here") as found:
        target.load_state_dict(emptied(net).state_dict(), strict=strict)
    assert isinstance(found.value, SpectralError)
    assert isinstance(found.value, RuntimeError)
    own = dict(target.named_parameters())
    assert all(torch.equal(own[name], p) for name, p in before.items() if name != "bias")


@kinds
def test_without_the_configuration_a_state_is_loaded_as_it_is(kind):
    net, target = BUILD[kind](margin=0.3), emptied(BUILD[kind](margin=0.3))
    old = {name: value for name, value in net.state_dict().items() if not name.endswith("_extra_state")}
    assert not any(target.load_state_dict(old, strict=True))
    assert torch.equal(output(target), output(net))
    nested = nn.ModuleDict({"a": nn.Sequential(emptied(net))})
    assert not any(nested.load_state_dict({f"a.0.{name}": value for name, value in old.items()}, strict=True))
    assert torch.equal(output(nested["a"][0]), output(net))


@pytest.mark.parametrize("spectrum", ["penalty", "fixed"])
def test_a_margin_that_is_not_used_is_not_compared(spectrum):
    net, target = (SVD(4, 4, margin=margin, spectrum=spectrum) for margin in (0.1, 0.2))
    target.load_state_dict(net.state_dict())
    assert torch.equal(target.dense(), net.dense())


@packs
def test_the_trials_of_a_pack_are_compared_one_by_one(kind):
    first, second = {"margin": 0.3, "reflectors": (2, 3)}, {"margin": 0.1, "reflectors": (3, 2), "sigma": 0.8}
    pack = pack_of(kind, first, second)
    target = emptied(pack)
    target.load_state_dict(pack.state_dict())
    assert torch.equal(output(target), output(pack))
    with pytest.raises(StateMismatchError, match=r"margin is \[0\.3, 0\.1\] there and \[0\.1, 0\.3\] here"):
        pack_of(kind, second, first).load_state_dict(pack.state_dict())
    pack.trial(1).load_state_dict(BUILD[kind](**second).state_dict())


def test_names_of_later_versions_are_not_compared_and_nonsense_is_refused():
    svd = SVD(4, 4)
    told = json.loads(bytes(svd.state_dict()["_extra_state"].to(torch.uint8).tolist()))

    def state(text):
        return {**svd.state_dict(), "_extra_state": torch.tensor(list(text.encode()), dtype=torch.uint8)}

    svd.load_state_dict(state(json.dumps({**told, "colour": "blue"})))
    for nonsense in ("", "[]", "{", "\xff"):
        with pytest.raises(StateMismatchError, match="cannot be read"):
            svd.load_state_dict(state(nonsense))
    with pytest.raises(StateMismatchError, match="cannot be read"):
        svd.load_state_dict({**svd.state_dict(), "_extra_state": "a text"})


def test_tools_that_treat_all_values_alike_do_no_harm():
    svd = SVD(4, 4, margin=0.3, generator=generator())
    mean = {name: 0.5 * value + 0.5 * value for name, value in svd.state_dict().items()}
    emptied(svd).load_state_dict(mean)
    file = io.BytesIO()
    torch.save(svd.state_dict(), file)
    file.seek(0)
    other = emptied(svd)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.dense(), svd.dense())


@kinds
def test_built_on_meta_and_loaded_by_assignment(kind):
    net = BUILD[kind](margin=0.3)
    with torch.device("meta"):
        empty = BUILD[kind](margin=0.3)
    if kind == "weight":
        empty = empty.to_empty(device="meta")
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    empty.load_state_dict(net.state_dict(), assign=True)
    assert torch.equal(output(empty), output(net))
    assert not list(net.buffers())


@packs
def test_a_pack_on_meta_loaded_by_assignment(kind):
    options = {"margin": 0.3}, {"margin": 0.1, "sigma": 0.8, "reflectors": 2}
    pack = pack_of(kind, *options)
    empty = copy.deepcopy(pack).to("meta")
    empty.load_state_dict(pack.state_dict(), assign=True)
    assert torch.equal(output(empty), output(pack))
    again = copy.deepcopy(pack).to("meta").to_empty(device="cpu")
    again.load_state_dict(pack.state_dict())
    assert torch.equal(output(again), output(pack))


def test_meta_infers_shapes_also_under_autocast():
    x = torch.ones(3, 4, device="meta")
    layer = SpectralLinear(4, 5, device="meta")
    pack = SpectralLinear.pack([layer, layer])
    with torch.autocast("cpu", torch.bfloat16):
        for net, shape in ((layer, (3, 4)), (pack, (2, 3, 4))):
            assert net(torch.ones(shape, device="meta")).shape == (*shape[:-1], 5)
    svd = SVD(4, 4, device="meta", margin=1.0)
    assert svd.solve(x).shape == svd.transposed(x).shape == x.shape
    assert svd.logabsdet().shape == ()
    layer.normalize_()
    assert layer.weight.is_meta


@kinds
def test_parameters_frozen_into_buffers_can_be_moved_and_used(kind):
    net = BUILD[kind](margin=0.3)
    expected = output(net).detach()
    for module in list(net.modules()):
        for name, parameter in list(module.named_parameters(recurse=False)):
            delattr(module, name)
            module.register_buffer(name, parameter.detach())
    assert not list(net.parameters())
    net.to("cpu").float()
    net.double()
    assert_near(output(net).float(), expected.float(), 1000)


@kinds
def test_copies_and_pickles_are_apart(kind):
    net = BUILD[kind](margin=0.3)
    copies = [copy.deepcopy(net)]
    if kind != "weight":  # torch does not pickle parametrized modules
        copies.append(pickle.loads(pickle.dumps(net)))
    for other in copies:
        assert torch.equal(output(other), output(net))
        other.load_state_dict(emptied(net).state_dict())
        assert not torch.equal(output(other), output(net))


@packs
def test_called_with_other_parameters_and_over_an_ensemble(kind):
    net, other = BUILD[kind](margin=0.3), emptied(BUILD[kind](margin=0.3))
    x = draw(5, 2, 4)
    found = torch.func.functional_call(net, dict(other.named_parameters()), (x,))
    assert torch.equal(found[0] if isinstance(found, tuple) else found, output(other))
    if kind in ("svd", "linear"):
        skeleton = copy.deepcopy(net).to("meta")
        stacked, _ = torch.func.stack_module_state([net, other])
        each = torch.func.vmap(lambda p: torch.func.functional_call(skeleton, p, (x,)))(stacked)
        assert_near(each[1], output(other), 1000)


def test_what_was_built_in_inference_mode_trains_after_it():
    net = SVD(4, 4, margin=0.3, generator=generator())
    with torch.inference_mode():
        net.load_state_dict(net.state_dict())
        pack = SVD.pack([net, net])
        pack.dense()
    net.dense().sum().backward()
    assert net.singular.grad is not None


@pytest.mark.parametrize(
    ("kind", "packed"), [("svd", False), ("svd", True), ("linear", False), ("linear", True), ("weight", False)]
)
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_compiles_without_a_break_and_exports(kind, packed):
    net = pack_of(kind, {"margin": 0.3}, {"margin": 0.1, "reflectors": 2}) if packed else BUILD[kind](margin=0.3)
    x = draw(*((2,) if packed else ()), 5, 4)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    assert_near(compiled(x), net(x), 1000)
    exported = torch.export.export(net, (x,)).module()
    assert_near(exported(x), net(x), 1000)


def test_state_dicts_can_be_averaged_in_place():
    first, second = SpectralRNN(3, 5), SpectralRNN(3, 5)
    averaged = {name: value.clone() for name, value in first.state_dict().items()}
    for name, value in second.state_dict().items():
        averaged[name].mul_(0.9).add_(value, alpha=0.1)
    first.load_state_dict(averaged)
    assert torch.allclose(first.bias_l0, averaged["bias_l0"])


def test_a_refused_layer_keeps_its_bias():
    one, other = SpectralLinear(3, 3, margin=0.1), SpectralLinear(3, 3, margin=0.2)
    before = other.bias.detach().clone()
    with pytest.raises(StateMismatchError):
        other.load_state_dict(one.state_dict())
    assert torch.equal(other.bias, before)
