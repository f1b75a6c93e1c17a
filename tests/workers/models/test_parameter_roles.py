"""The role of every parameter of every kind, and so its learning rate and decay, against a table written by hand.

Networks have one layer (the residual ones two, of which a block is made) and read token ids.
"""

from __future__ import annotations

from typing import Any

import pytest

from spectral import ParameterRole
from tests.workers.models.networks import Tokens, mixed, trial
from workers.models import build, pack
from workers.spec.model import KINDS, RESIDUAL

EVERYWHERE: dict[str, ParameterRole] = {"embedding.weight": "weight", "head.weight": "weight", "head.bias": "bias"}
TORCHS: dict[str, ParameterRole] = {
    "recurrent.weight_ih_l0": "weight",
    "recurrent.weight_hh_l0": "weight",
    "recurrent.bias_ih_l0": "bias",
    "recurrent.bias_hh_l0": "bias",
}
ORTHOGONAL: dict[str, ParameterRole] = {
    "recurrent.weight_ih_l0": "weight",
    "recurrent.bias_l0": "bias",
    "recurrent.reflectors_u_l0": "reflector",
    "recurrent.reflectors_v_l0": "reflector",
}
SPECTRAL: dict[str, ParameterRole] = ORTHOGONAL | {"recurrent.singular_l0": "singular_value"}
DEEP: dict[str, ParameterRole] = {
    "first.weight": "weight",
    "first.bias": "bias",
    "layers.weight": "weight",
    "layers.bias": "bias",
}
SPECTRAL_DEEP: dict[str, ParameterRole] = {
    "first.weight": "weight",
    "first.bias": "bias",
    "layers.svd.reflectors_u": "reflector",
    "layers.svd.reflectors_v": "reflector",
    "layers.svd.singular": "singular_value",
    "layers.bias": "bias",
}
EXPRNN: dict[str, ParameterRole] = {
    "recurrent.layers.0.weight_ih": "weight",
    "recurrent.layers.0.bias": "bias",
    "recurrent.layers.0.offset": "threshold",
    "recurrent.layers.0.parametrizations.weight_hh.original": "coordinate",
}
ROLES: dict[str, dict[str, ParameterRole]] = {
    "exprnn": EXPRNN,
    "gru": TORCHS,
    "irnn": TORCHS,
    "lstm": TORCHS,
    "mlp": DEEP,
    "ornn": ORTHOGONAL,
    "resnet": DEEP,
    "rnn": TORCHS,
    "spectral_gru": SPECTRAL | {"recurrent.bias_hn_l0": "bias"},
    "spectral_lstm": SPECTRAL,
    "spectral_mlp": SPECTRAL_DEEP,
    "spectral_resnet": SPECTRAL_DEEP,
    "spectral_rnn": SPECTRAL,
}


@pytest.mark.parametrize(
    ("kind", "fields", "wanted"),
    [
        *((kind, {}, roles) for kind, roles in ROLES.items()),
        ("spectral_rnn", {"activation": "modrelu"}, SPECTRAL | {"recurrent.offset_l0": "threshold"}),
        ("exprnn", {"activation": "tanh"}, {n: role for n, role in EXPRNN.items() if not n.endswith("offset")}),
    ],
)
def test_every_parameter_of_a_pack_has_its_role(
    kind: str, fields: dict[str, Any], wanted: dict[str, ParameterRole]
) -> None:
    layers = 2 if kind in RESIDUAL else 1
    specs = [trial(kind, **own, layers=layers, **fields).model for own in mixed(kind)]
    packed = pack([build(spec, Tokens(length=6)) for spec in specs])
    assert packed.roles == EVERYWHERE | wanted
    assert packed.roles.keys() == packed.parameters.keys()


def test_the_table_has_every_kind() -> None:
    assert ROLES.keys() == KINDS
