"""Packs of the networks that read a whole sequence at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral import SpectralLinear, Transition, normalize_reflectors_, singular_map
from workers.models import deep
from workers.models.deep import DeepModel
from workers.models.linear import linear
from workers.models.packed_model import PackedModel, all_of_class, stacked_parameters
from workers.models.sequence_model import SequenceModel


class DeepPack(PackedModel):
    """Computes K deep networks of L layers each together.

    The matrices of all K L layers are formed in one call, and each of the L layers is one product for the whole pack.

    The state, which has a single layer, is the activation of the last layer. ``h0`` is added to the activation that
    enters the first n -> n layer, so that dL/dh0 is the gradient there.
    """

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        super().__init__(trials)
        own = all_of_class(DeepModel, trials)
        like = own[0]
        self.parameters |= stacked_parameters([trial.first for trial in own], "first")
        self.parameters |= stacked_parameters([trial.layers for trial in own], "layers")
        self._set_state_shape(1, like.first.out_features)
        self._activation, self._residual = like.activation, like.residual
        self._spectral = isinstance(like.layers, SpectralLinear)
        if self._spectral:
            slots = [trial.layers.slots[0] for trial in own if isinstance(trial.layers, SpectralLinear)]
            self._set_bands(slots, "sigmoid")
            raw = self.parameters["layers.svd.singular"]
            self._centre, self._margin = (
                torch.tensor(each, dtype=raw.dtype, device=raw.device).unsqueeze(1)
                for each in ([slot.sigma for slot in slots], [slot.margin for slot in slots])
            )

    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        if every:
            raise ValueError(
                "a network that reads a whole sequence at once has no state at every step; use the readout last"
            )
        own, inputs = self.parameters, deep.zero_padding(inputs, lengths).flatten(2)
        x = self._activation(linear(inputs, own["first.weight"], own["first.bias"])) + h0[:, 0]
        weights = self._transition().matrix() if self._spectral else own["layers.weight"]
        top = deep.run_layers(x, weights, own["layers.bias"], self._activation, residual=self._residual)
        return top, top.unsqueeze(1)

    def _transition(self) -> Transition:
        """Return the transition of all layers of all trials; sigma has shape (K, L, n)."""
        own = self.parameters
        sigma = singular_map("sigmoid", own["layers.svd.singular"], self._centre, self._margin, self.hidden_size)
        return Transition(sigma, own["layers.svd.reflectors_u"], own["layers.svd.reflectors_v"])

    def transitions(self) -> list[Transition]:
        """Return the transition of all layers, or nothing for the kinds with plain matrices."""
        return [self._transition()] if self._spectral else []

    @torch.no_grad()
    def replace(self, row: int, network: SequenceModel) -> None:
        """Put another network in the place of a trial, with its band of singular values; see ``PackedModel``."""
        super().replace(row, network)
        (own,) = all_of_class(DeepModel, [network])
        if isinstance(own.layers, SpectralLinear):
            slot = own.layers.slots[0]
            assert self._band_centre is not None
            self._band_centre[row] = slot.sigma
            self._centre[row], self._margin[row] = slot.sigma, slot.margin

    def after_step(self) -> None:
        """Scale every reflector that is not zero to length 1: the loss does not depend on it, and it would grow."""
        for name, role in self.roles.items():
            if role == "reflector":
                normalize_reflectors_(self.parameters[name])
