"""The role of every parameter of a module: what an optimiser needs to know in order to group parameters."""

import re
from collections.abc import Mapping
from typing import Literal

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

ParameterRole = Literal["reflector", "singular_value", "threshold", "coordinate", "weight", "bias"]
"""What a parameter means.

``reflector``: raw Householder vectors, whose lengths do not matter. ``singular_value``: the raw numbers from which
``singular_map`` computes the singular values. ``threshold``: modReLU's offset b, the parameter ``offset_l...``.
``coordinate``: the free tensor from which one of torch's own parametrizations forms a weight. ``weight`` and ``bias``:
the factor and the summand of a linear map, and every other parameter counts as a ``weight`` too.
"""

_LAYER = re.compile(r"_l\d+(_reverse)?$")
"""The suffix that recurrent modules, torch's and ours, add to the parameters of each layer and direction."""


def parameter_roles(module: nn.Module) -> dict[str, ParameterRole]:
    """Return the role of every parameter of a module and of its submodules.

    A module declares the roles of its direct parameters in a class attribute ``parameter_roles``, a mapping from a
    parameter's name to its role. A layer's suffix, such as ``_l0`` or ``_l0_reverse``, is left out of the name there.
    Every module of this package does so, also inside a weight that ``spectral.spectral_svd`` has replaced. The role of
    an undeclared parameter follows from torch's conventions: ``coordinate`` if it is what a torch parametrization
    stores in place of a weight or bias, such as ``parametrizations.weight.original``; ``bias`` if one of the
    words of its name, between underscores, is "bias", as in ``bias_ih``; and otherwise ``weight``.

    Args:
        module: Any module. In a pack, where parameters have a leading trial axis, the roles are the same.

    Returns:
        The role for each name of ``module.named_parameters()``, in the same order; a shared parameter appears once.
    """
    roles: dict[str, ParameterRole] = {}
    for name, _ in module.named_parameters():
        path, _, own_name = name.rpartition(".")
        roles[name] = direct_parameter_role(module.get_submodule(path), own_name)
    return roles


def direct_parameter_role(owner: nn.Module, name: str) -> ParameterRole:
    """Return the role of the parameter ``name`` that ``owner`` holds itself, not in a submodule."""
    declared: Mapping[str, ParameterRole] = getattr(owner, "parameter_roles", {})
    stem = _LAYER.sub("", name)
    if stem in declared:
        return declared[stem]
    if isinstance(owner, ParametrizationList):
        return "coordinate"
    return "bias" if "bias" in stem.split("_") else "weight"
