import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal

from spectral import (
    SVD,
    PackedLinear,
    SpectralGRU,
    SpectralLinear,
    SpectralLSTM,
    SpectralRNN,
    parameter_roles,
    spectral_svd,
)

OWN = {"reflectors_u": "reflector", "reflectors_v": "reflector", "singular": "singular_value"}


def layers(module: nn.Module) -> dict[str, str]:
    return {name.removesuffix("_l0"): role for name, role in parameter_roles(module).items()}


def test_a_recurrent_net_declares_every_parameter():
    rnn = SpectralRNN(2, 4, reflectors=2, nonlinearity="modrelu")
    assert layers(rnn) == {"weight_ih": "weight", "bias": "bias", "offset": "threshold", **OWN}


@pytest.mark.parametrize(("kind", "biases"), [(SpectralLSTM, ["bias"]), (SpectralGRU, ["bias", "bias_hn"])])
def test_a_gated_net_declares_every_parameter(kind, biases):
    assert layers(kind(2, 4, reflectors=2)) == {"weight_ih": "weight", **dict.fromkeys(biases, "bias"), **OWN}


def test_layers_and_directions_have_the_roles_of_the_first():
    rnn = SpectralRNN(2, 4, num_layers=2, bidirectional=True, reflectors=2, nonlinearity="modrelu")
    roles = parameter_roles(rnn)
    assert list(roles) == [name for name, _ in rnn.named_parameters()]
    for name, role in roles.items():
        assert role == roles[name.replace("_reverse", "").replace("_l1", "_l0")]


def test_a_matrix_and_a_linear_layer_declare_theirs():
    assert parameter_roles(SVD(3, 4)) == OWN
    in_layer = {f"svd.{name}": role for name, role in OWN.items()}
    assert parameter_roles(SpectralLinear(3, 4)) == {"bias": "bias", **in_layer}
    assert "singular" not in parameter_roles(SVD(3, 4, spectrum="fixed"))


def test_a_pack_has_the_roles_of_its_trials():
    trials = [SpectralRNN(2, 4, reflectors=m, nonlinearity="modrelu") for m in (1, 3)]
    assert parameter_roles(SpectralRNN.pack(trials)) == parameter_roles(trials[0])
    assert parameter_roles(PackedLinear(2, 3, 4)) == {"weight": "weight", "bias": "bias"}


def test_names_of_submodules_are_paths():
    net = nn.ModuleDict({"rnn": SpectralRNN(2, 4, reflectors=2), "head": nn.Linear(4, 1), "old": nn.LSTM(2, 4)})
    roles = parameter_roles(net)
    assert list(roles) == [name for name, _ in net.named_parameters()]
    assert roles["rnn.reflectors_u_l0"] == "reflector"
    assert (roles["head.weight"], roles["head.bias"]) == ("weight", "bias")
    assert (roles["old.weight_hh_l0"], roles["old.bias_hh_l0"]) == ("weight", "bias")


@pytest.mark.parametrize("gates", [False, True])
def test_a_parametrized_weight_has_the_roles_of_its_factors(gates):
    roles = parameter_roles(spectral_svd(nn.LSTM(2, 3), "weight_hh_l0", gates=gates))
    prefix = "parametrizations.weight_hh_l0.0.svd."
    assert {name.removeprefix(prefix): role for name, role in roles.items() if name.startswith(prefix)} == OWN
    assert roles["weight_ih_l0"] == "weight"


def test_what_a_parametrization_of_torch_holds_is_a_coordinate():
    roles = parameter_roles(orthogonal(nn.Linear(3, 3)))
    assert roles == {"bias": "bias", "parametrizations.weight.original": "coordinate"}


def test_a_bias_is_known_by_a_word_of_its_name_and_not_by_a_part_of_a_word():
    module = nn.Module()
    module.unbiased_gain, module.in_proj_bias = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))
    assert parameter_roles(module) == {"unbiased_gain": "weight", "in_proj_bias": "bias"}


def test_parameters_by_role_are_the_module_s_own():
    rnn = SpectralRNN(2, 4, num_layers=2, reflectors=2)
    reflectors, singular = list(rnn.reflector_parameters()), list(rnn.singular_parameters())
    assert [tuple(p.shape) for p in reflectors] == [(4, 2)] * 4
    assert [tuple(p.shape) for p in singular] == [(4,)] * 2
    assert all(any(p is own for own in rnn.parameters()) for p in (*reflectors, *singular))
    assert not any(torch.equal(p, torch.zeros_like(p)) for p in reflectors)
