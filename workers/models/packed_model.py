"""K networks of one shape computed at once: parameters with a leading trial axis, one forward for all.

Parameters are named as in the ``state_dict`` of the ``SequenceModel`` they were stacked from, so that whatever has
their shapes (moments of an optimiser, best values so far) is taken apart and put together by the same two functions.
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
    """One set of tensors with a leading trial axis; reflectors of the shorter sets are padded with zero columns."""
    return {name: stack_trials([trial[name] for trial in trials]) for name in trials[0]}


def take(stacked: Mapping[str, Tensor], k: int, like: Mapping[str, Tensor]) -> Tensors:
    """Trial k without its padding: copies, in the shapes of ``like``."""
    own = {}
    for name, tensor in stacked.items():
        shape = like[name].shape
        own[name] = (tensor[k, ..., : shape[-1]] if shape else tensor[k]).detach().clone()
    return own


def stacked_parameters(modules: Sequence[nn.Module], prefix: str) -> Tensors:
    """The parameters of one module of each trial, stacked: ``prefix.name`` -> (K, ...), leaves."""
    states = [{name: p.detach() for name, p in module.named_parameters()} for module in modules]
    return {f"{prefix}.{name}": nn.Parameter(tensor) for name, tensor in stack(states).items()}


class PackedModel(ABC):
    """What the trainer sees of a pack. ``parameters``: name -> (K, ...), the tensors that an optimiser moves.

    ``layers`` L and ``state_size`` S give the state's shape (K, L, B, S): the hidden state h of every layer, and for
    an LSTM h then c, so that S = 2 H there. A row's numbers do not depend on K.
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
        return len(next(iter(self.parameters.values())))

    def forward(self, inputs: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Outputs as the task reads them, (K, B, O) or (K, B, T, O), and the state (K, L, B, S)."""
        read, state = self.read(inputs, h0, lengths, every=self.readout == "every")
        return self.read_out(read), state

    def read(
        self, inputs: Tensor, h0: Tensor | None = None, lengths: Tensor | None = None, *, every: bool
    ) -> tuple[Tensor, Tensor]:
        """What the head reads, and the state after the last step.

        inputs (K, B, T, I), or token ids (K, B, T); h0 (K, L, B, S), zeros if None; lengths (K, B), T if None -> the
        top layer's h, (K, B, H) after T or ``lengths`` steps or (K, B, T, H) after every one, and the state there,
        (K, L, B, S). Past ``lengths`` the states read are of no meaning.
        """
        h0 = self.zeros(inputs.shape[1]) if h0 is None else h0
        read, state = self._read(self._embedded(inputs), h0, lengths, every)
        return read, state.to(h0.dtype)  # autocast lowers some kinds' states, which go on into the next batch

    @abstractmethod
    def _read(self, inputs: Tensor, h0: Tensor, lengths: Tensor | None, every: bool) -> tuple[Tensor, Tensor]:
        """``read`` of inputs (K, B, T, I)."""

    def read_out(self, read: Tensor) -> Tensor:
        """read (K, ..., H) -> outputs (K, ..., O). A single output is summed plainly: for a matrix of one column the
        library's route, and with it the rounding, depends on K."""
        weight, bias = self.parameters["head.weight"], self.parameters["head.bias"]
        if weight.shape[1] > 1:
            return linear(read, weight, bias)
        outputs = (read.flatten(1, -2) * weight).sum(-1, keepdim=True) + bias.unsqueeze(1)
        return outputs.view(*read.shape[:-1], 1)

    def zeros(self, batch: int) -> Tensor:
        """The state before the first step, (K, L, B, S)."""
        like = next(iter(self.parameters.values()))
        return like.new_zeros(self.trials, self.layers, batch, self.state_size)

    def top(self, state: Tensor) -> Tensor:
        """state (K, L, B, S) -> the top layer's h, (K, B, H)."""
        return state[:, -1, :, : self.hidden_size]

    def _embedded(self, inputs: Tensor) -> Tensor:
        """Token ids (K, B, T) as rows of each trial's own table, (K, B, T, E); other inputs as they are."""
        if not self._embeds:
            return inputs
        table = self.parameters["embedding.weight"]
        first = torch.arange(self.trials, device=inputs.device).view(-1, 1, 1) * table.shape[1]
        return nn.functional.embedding(inputs + first, table.flatten(0, 1))

    def after_step(self) -> None:  # noqa: B027  most packs have nothing to do here
        """What must hold again once an optimiser has moved the parameters."""

    def transitions(self) -> list[Transition]:
        """Every transition held as reflectors, (K, ..., n) and (K, ..., n, m); none for kinds without."""
        return []

    @torch.no_grad()
    def spectrum_distance(self) -> Tensor | None:
        """max |s_i - sigma*| over layers and singular values, (K,); None where they cannot move within a band."""
        if self._band_centre is None:
            return None
        distances = [
            (transition.sigma.flatten(1) - self._band_centre.unsqueeze(1)).abs().amax(1)
            for transition in self.transitions()
        ]
        return torch.stack(distances).amax(0)

    def _takes(self, layers: int, hidden_size: int) -> None:
        """The state's shape, h alone."""
        self.layers, self.hidden_size, self.state_size = layers, hidden_size, hidden_size

    def _banded_by(self, slots: Sequence[Slot], spectrum: str) -> None:
        if spectrum != "fixed":
            self._band_centre = self.parameters["head.bias"].new_tensor([slot.sigma for slot in slots])


def only(kind: type[Module], found: Iterable[object]) -> list[Module]:
    """The modules, all of one class. Raises TypeError."""
    modules = list(found)
    wrong = {type(module).__name__ for module in modules if not isinstance(module, kind)}
    if wrong:
        raise TypeError(f"this pack holds {kind.__name__}, not {', '.join(sorted(wrong))}")
    return [module for module in modules if isinstance(module, kind)]
