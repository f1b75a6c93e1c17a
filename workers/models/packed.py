"""K networks of one shape computed at once: parameters with a leading trial axis, one forward for all.

Parameters are named as in the ``state_dict`` of the ``SequenceModel`` they were stacked from, so that whatever has
their shapes (moments of an optimiser, best values so far) is taken apart and put together by the same two functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from spectral import PackedLinear, SpectralRNN, stack_trials
from workers.models.sequence_model import SequenceModel

Tensors = dict[str, Tensor]


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


class PackedModel(ABC):
    """What the trainer sees of a pack. ``parameters``: name -> (K, ...), the tensors that an optimiser moves."""

    parameters: dict[str, Tensor]
    layers: int
    hidden_size: int

    @property
    def trials(self) -> int:
        return len(next(iter(self.parameters.values())))

    @abstractmethod
    def forward(self, inputs: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """inputs (K, B, T, I), h0 (K, L, B, H), zeros if None -> outputs (K, B, O), the top layer's h_T (K, B, H)."""

    def zeros(self, batch: int) -> Tensor:
        """h_0, (K, L, B, H)."""
        like = next(iter(self.parameters.values()))
        return like.new_zeros(self.trials, self.layers, batch, self.hidden_size)

    def _read_out(self, last: Tensor) -> Tensor:
        """last (K, B, H) -> (K, B, O). A single output is summed plainly: for a matrix of one column the library's
        route, and with it the rounding, depends on K."""
        weight, bias = self.parameters["head.weight"], self.parameters["head.bias"]
        if weight.shape[1] == 1:
            return (last * weight).sum(-1, keepdim=True) + bias.unsqueeze(1)
        return torch.baddbmm(bias.unsqueeze(1), last, weight.mT)

    def after_step(self) -> None:  # noqa: B027  most packs have nothing to do here
        """What must hold again once an optimiser has moved the parameters."""

    def spectrum_distance(self) -> Tensor | None:
        """max |s_i - 1| over layers and singular values, (K,); None where the transition has no known ones."""
        return None


class SpectralPack(PackedModel):
    """A packed SpectralRNN and a packed readout."""

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        self._recurrent = SpectralRNN.pack([_spectral(trial) for trial in trials])
        head = PackedLinear.pack([trial.head for trial in trials])
        self.layers, self.hidden_size = self._recurrent.num_layers, self._recurrent.hidden_size
        self.parameters = {f"recurrent.{name}": p for name, p in self._recurrent.named_parameters()}
        self.parameters |= {f"head.{name}": p for name, p in head.named_parameters()}

    def forward(self, inputs: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        _, state = self._recurrent(inputs, h0)
        last = state[:, -1]
        return self._read_out(last), last

    def after_step(self) -> None:
        self._recurrent.normalize_()

    def spectrum_distance(self) -> Tensor:
        with torch.no_grad():
            return (self._recurrent.singular_values() - 1).abs().amax((-1, -2))


class BaselinePack(PackedModel):
    """torch.nn.RNN or LSTM, one trial after another over the stacked parameters: for comparison, not for speed."""

    def __init__(self, trials: Sequence[SequenceModel]) -> None:
        like = trials[0].recurrent
        if isinstance(like, SpectralRNN):
            raise TypeError("a baseline pack holds torch.nn.RNN or torch.nn.LSTM")
        states = [{name: p.detach() for name, p in trial.named_parameters()} for trial in trials]
        self.parameters = {name: nn.Parameter(tensor) for name, tensor in stack(states).items()}
        self.layers, self.hidden_size, self._mode = like.num_layers, like.hidden_size, like.mode
        self._names = [f"recurrent.{name}" for name, _ in like.named_parameters()]

    def forward(self, inputs: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h0 = self.zeros(inputs.shape[1]) if h0 is None else h0
        last = torch.stack([self._last(k, inputs[k], h0[k]) for k in range(self.trials)])
        return self._read_out(last), last

    def _last(self, k: int, inputs: Tensor, h0: Tensor) -> Tensor:
        weights = [self.parameters[name][k] for name in self._names]
        # biases, layers, dropout, training, both ways, batch first
        options = (True, self.layers, 0.0, False, False, True)
        if self._mode == "LSTM":
            _, state, _ = torch.lstm(inputs, (h0, torch.zeros_like(h0)), weights, *options)
        elif self._mode == "RNN_TANH":
            _, state = torch.rnn_tanh(inputs, h0, weights, *options)
        else:
            _, state = torch.rnn_relu(inputs, h0, weights, *options)
        return state[-1]


def pack(trials: Sequence[SequenceModel]) -> PackedModel:
    """The pack of separately built networks of one kind and shape; values are copied."""
    return SpectralPack(trials) if isinstance(trials[0].recurrent, SpectralRNN) else BaselinePack(trials)


def _spectral(trial: SequenceModel) -> SpectralRNN:
    if not isinstance(trial.recurrent, SpectralRNN):
        raise TypeError(f"a spectral pack holds SpectralRNNs, not {type(trial.recurrent).__name__}")
    return trial.recurrent
