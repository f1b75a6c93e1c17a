"""Packs of the nets that read a sequence at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral import SpectralLinear, Transition, normalize_reflectors_, parameter_roles, singular_map
from workers.models import deep
from workers.models.deep import DeepModel
from workers.models.packed_model import PackedModel, only, stacked_parameters
from workers.models.sequence_model import SequenceModel


class DeepPack(PackedModel):
    """K nets of L layers: the matrices of all K L layers formed in one call, then L products of the whole pack.

    The state has one layer, the top activation. h0 is added to the activation that enters the first n -> n layer, so
    that dL/dh0 is the gradient there.
    """

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        super().__init__(trials)
        own = only(DeepModel, trials)
        like = own[0]
        self.parameters |= stacked_parameters([trial.first for trial in own], "first")
        self.parameters |= stacked_parameters([trial.layers for trial in own], "layers")
        self._takes(1, like.first.out_features)
        self._roles = {f"layers.{name}": role for name, role in parameter_roles(like.layers).items()}
        self._activation, self._residual = like.activation, like.residual
        self._spectral = isinstance(like.layers, SpectralLinear)
        if self._spectral:
            slots = [trial.layers.slots[0] for trial in own if isinstance(trial.layers, SpectralLinear)]
            self._banded_by(slots, "sigmoid")
            raw = self.parameters["layers.singular"]
            self._centre, self._margin = (
                torch.tensor(each, dtype=raw.dtype, device=raw.device).unsqueeze(1)
                for each in ([slot.sigma for slot in slots], [slot.margin for slot in slots])
            )

    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        if every:
            raise ValueError("a net that reads a sequence at once has no state at every step; read the last one")
        own, inputs = self.parameters, deep.within(inputs, lengths).flatten(2)
        x = self._activation(deep.linear(inputs, own["first.weight"], own["first.bias"])) + h0[:, 0]
        weights = deep.formed(self._transition()) if self._spectral else own["layers.weight"]
        top = deep.run(x, weights, own["layers.bias"], self._activation, residual=self._residual)
        return top, top.unsqueeze(1)

    def _transition(self) -> Transition:
        """All layers of all trials: sigma (K, L, n)."""
        own = self.parameters
        sigma = singular_map("sigmoid", own["layers.singular"], self._centre, self._margin, self.hidden_size)
        return Transition(sigma, own["layers.reflectors_u"], own["layers.reflectors_v"])

    def transitions(self) -> list[Transition]:
        return [self._transition()] if self._spectral else []

    def after_step(self) -> None:
        """Scale every reflector to length 1: the loss does not depend on it, and optimisers would let it grow."""
        for name, role in self._roles.items():
            if role == "reflector":
                normalize_reflectors_(self.parameters[name])
