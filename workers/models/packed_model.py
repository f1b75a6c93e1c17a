"""K networks of one shape as one: parameters with a leading trial axis, and one forward pass for all.

Parameters have the names of the ``state_dict`` of the ``SequenceModel`` from which they were stacked. So everything
that has their shapes, such as an optimiser's moments, is stacked by ``stack`` and taken apart by ``unstack_trial``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from spectral import ParameterRole, Slot, Transition, parameter_roles, stack_trials
from workers.models.linear import linear
from workers.models.sequence_model import SequenceModel
from workers.tasks.task import Readout

Tensors = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)


def stack(trials: Sequence[Mapping[str, Tensor]]) -> Tensors:
    """Return the tensors of K trials with a leading trial axis, by name.

    If trials differ in their numbers of reflectors, the smaller sets are padded with zero columns.
    """
    return {name: stack_trials([trial[name] for trial in trials]) for name in trials[0]}


def unstack_trial(stacked: Mapping[str, Tensor], k: int, like: Mapping[str, Tensor]) -> Tensors:
    """Return copies of the tensors of trial k without padding, in the shapes of ``like``."""
    own = {}
    for name, tensor in stacked.items():
        shape = like[name].shape
        own[name] = (tensor[k, ..., : shape[-1]] if shape else tensor[k]).detach().clone()
    return own


@torch.no_grad()
def put_row(stacked: Mapping[str, Tensor], row: int, trial: Mapping[str, Tensor]) -> None:
    """Copy the tensors of one trial, padded where they have fewer reflectors, into a row of stacked ones."""
    for name, own in trial.items():
        place = stacked[name][row]
        if place.dim():
            place.zero_()
            place[..., : own.shape[-1]].copy_(own)
        else:
            place.copy_(own)


def stacked_parameters(modules: Sequence[nn.Module], prefix: str) -> Tensors:
    """Return the stacked parameters of one module of each trial, as leaves of shape (K, ...) under ``prefix.name``."""
    states = [{name: p.detach() for name, p in module.named_parameters()} for module in modules]
    return {f"{prefix}.{name}": nn.Parameter(tensor) for name, tensor in stack(states).items()}


class PackedModel(ABC):
    """The base class of packs, which compute K networks of one kind and shape together for the trainer.

    The results of a trial do not depend on K, nor on the values of the others. If another has more reflectors, the
    trial's own are padded, and its results change by rounding.

    Attributes:
        parameters: The tensors that an optimiser changes, by name, each of shape (K, ...).
        roles: The role of each parameter.
        layers: The number L of layers of the state, which has shape (K, L, B, S).
        hidden_size: The size H of the hidden state h.
        state_size: The size S of the state of a layer: h, or for an LSTM h followed by c, so that S = 2 H.
        readout: "last" if there is one output for each sequence, "every" if there is one for each step.
    """

    parameters: dict[str, Tensor]
    roles: dict[str, ParameterRole]
    layers: int
    hidden_size: int
    state_size: int
    readout: Readout
    _band_centre: Tensor | None = None

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        self.readout = trials[0].readout
        self.roles = parameter_roles(trials[0])
        self._embeds = trials[0].embedding is not None
        self.parameters = stacked_parameters([trial.head for trial in trials], "head")
        if self._embeds:
            tables = [trial.embedding for trial in trials if trial.embedding is not None]
            self.parameters |= stacked_parameters(tables, "embedding")

    @property
    def trials(self) -> int:
        """The number K of trials."""
        return len(next(iter(self.parameters.values())))

    def forward(self, inputs: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the outputs and the last state, with the arguments of ``read``.

        Returns:
            The outputs, shape (K, B, O), or (K, B, T, O) for the readout "every", and the state, shape (K, L, B, S).
        """
        read, state = self.read(inputs, h0, lengths, every=self.readout == "every")
        return self.read_out(read), state

    def read(
        self, inputs: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None, *, every: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the input of the head and the state after the last step.

        Args:
            inputs: Shape (K, B, T, I), or token ids of shape (K, B, T).
            h0: The state before the first step, shape (K, L, B, S); zeros if None.
            lengths: The steps of each sequence, shape (K, B); None if all have T steps.
            every: Whether the head reads every state, or the last one only.

        Returns:
            The h of the top layer after the last step of each sequence, shape (K, B, H), or with ``every`` after every
            step, shape (K, B, T, H), where values after the end of a sequence are meaningless. And the state after the
            last step of each sequence, shape (K, L, B, S).
        """
        h0 = self.zeros(inputs.shape[1]) if h0 is None else h0
        read, state = self._read(self._embedded(inputs), h0, lengths, every)
        # Under autocast some kinds return states in lower precision; the next batch may go on from them.
        return read, state.to(h0.dtype)

    @abstractmethod
    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        """Compute ``read`` for inputs of shape (K, B, T, I)."""

    def read_out(self, read: Tensor) -> Tensor:
        """Return the head's outputs, shape (K, ..., O), for its input ``read``, shape (K, ..., H)."""
        weight, bias = self.parameters["head.weight"], self.parameters["head.bias"]
        swapped = read.transpose(1, 2) if read.dim() == 4 and read.device.type == "cuda" else None
        if swapped is not None and swapped.is_contiguous() and not read.is_contiguous():
            # States that lie time before batch are read so: putting them into order would copy them all, twice.
            return self.read_out(swapped).transpose(1, 2)
        if weight.shape[1] > 1:
            return linear(read, weight, bias)
        # For a single output the library chooses an algorithm, and so the rounding, by K. A plain sum does not.
        outputs = (read.flatten(1, -2) * weight).sum(-1, keepdim=True) + bias.unsqueeze(1)
        return outputs.view(*read.shape[:-1], 1)

    def zeros(self, batch: int) -> Tensor:
        """Return the state before the first step, zeros of shape (K, L, B, S)."""
        like = next(iter(self.parameters.values()))
        return like.new_zeros(self.trials, self.layers, batch, self.state_size)

    def top(self, state: Tensor) -> Tensor:
        """Return the h of the top layer, shape (K, B, H), of a state of shape (K, L, B, S)."""
        # A view of a single layer, whose gradient is one too; that of a selected layer is a new array of zeros.
        layer = state.squeeze(1) if self.layers == 1 else state[:, -1]
        return layer if self.state_size == self.hidden_size else layer[..., : self.hidden_size]

    def _embedded(self, inputs: Tensor) -> Tensor:
        """Return the vectors of token ids (K, B, T), shape (K, B, T, E); other inputs are returned unchanged."""
        if not self._embeds:
            return inputs
        # One lookup serves all trials: their tables are joined, and the ids of trial k shifted to its table's rows.
        table = self.parameters["embedding.weight"]
        first = torch.arange(self.trials, device=inputs.device).view(-1, 1, 1) * table.shape[1]
        return nn.functional.embedding(inputs + first, table.flatten(0, 1))

    def after_step(self) -> None:  # noqa: B027  most packs have nothing to do here
        """Restore the constraints on the parameters after a step of the optimiser."""

    def transitions(self) -> list[Transition]:
        """Return every transition that consists of reflectors and singular values; nothing for other kinds.

        Singular values have shape (K, ..., n), reflectors (K, ..., n, m).
        """
        return []

    @torch.no_grad()
    def spectrum_distance(self) -> Tensor | None:
        """Return max |s_i - sigma*| over all singular values s_i of each trial, shape (K,).

        None for kinds whose singular values are fixed or that have none.
        """
        if self._band_centre is None:
            return None
        distances = [
            (transition.sigma.flatten(1) - self._band_centre.unsqueeze(1)).abs().amax(1)
            for transition in self.transitions()
        ]
        return torch.stack(distances).amax(0)

    def takes(self, network: SequenceModel) -> bool:
        """Return whether ``replace`` has room for a network: not if it has more reflectors than all that are here."""
        return all(own.shape[-1] <= self.parameters[name].shape[-1] for name, own in network.named_parameters())

    @torch.no_grad()
    def replace(self, row: int, network: SequenceModel) -> None:
        """Put another network of the same kind and shape, for which there is room, in the place of a trial.

        Values are copied in place, so that an optimiser and a captured graph go on with them. No other row changes.
        """
        put_row(self.parameters, row, dict(network.named_parameters()))

    def _set_state_shape(self, layers: int, hidden_size: int) -> None:
        """Set the shape of a state that consists of h only."""
        self.layers, self.hidden_size, self.state_size = layers, hidden_size, hidden_size

    def _set_bands(self, slots: Sequence[Slot], spectrum: str) -> None:
        """Set the centres sigma* of the trials' bands, unless their singular values are fixed."""
        if spectrum != "fixed":
            self._band_centre = self.parameters["head.bias"].new_tensor([slot.sigma for slot in slots])


def all_of_class(kind: type[Module], found: Iterable[object]) -> list[Module]:
    """Return the modules as a list of one class. Raises TypeError if one has another class."""
    modules = list(found)
    wrong = {type(module).__name__ for module in modules if not isinstance(module, kind)}
    if wrong:
        raise TypeError(f"this pack holds only networks with {kind.__name__}; found {', '.join(sorted(wrong))}")
    return [module for module in modules if isinstance(module, kind)]
