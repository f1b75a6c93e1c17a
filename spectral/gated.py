"""What SpectralLSTM and SpectralGRU share: gates whose recurrent matrices are each a spectral transition.

W_hh is formed once for a sequence, 2 n^2 (m1 + m2) flop a gate, and torch's own LSTM or GRU runs over it. With G gates
and a trial axis K: sigma (K, G, n), reflectors (K, G, n, m), dense (K, G n, n), gates in torch's order.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from spectral import init, sequences, singular_values
from spectral.errors import PackError, ShapeError
from spectral.pack import Slot, Trials, counts
from spectral.recurrence.cudnn import one_chunk
from spectral.rnn import check_sizes
from spectral.singular_values import Spectrum
from spectral.svd import values_of
from spectral.transition import Transition
from spectral.transition import dense as dense_transition

States = tuple[Tensor, ...]
"""h, or h and c: each (L, B, n), with a leading K in a pack."""
Plain = TypeVar("Plain", nn.LSTM, nn.GRU)


class GatedRNN(Trials, ABC):
    """The base of both; see there. Parameters of layer l: weight_ih_l (G n, n_i), bias_l (G n), reflectors_u_l
    (G, n, m1), reflectors_v_l (G, n, m2), singular_l (G, n); all with a leading K in a pack.
    """

    gates: ClassVar[int]
    """G"""
    _kept: ClassVar[int]
    """States that a layer carries: 2 for h and c."""
    _alike = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout")
    weight_ih_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reflectors: int | tuple[int, int] = 16,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
        start: init.InitName = "gaussian",
        generator: torch.Generator | None = None,
    ) -> None:
        check_sizes(input_size, hidden_size, num_layers, dropout)
        slot = Slot(counts(reflectors), float(margin), float(sigma))
        slot.check(hidden_size, spectrum)
        super().__init__(slot, spectrum)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        for layer in range(num_layers):
            self._set_parameters(self._first_values(layer, start, generator), device, dtype)
        self._set_band()

    def transition(self, layer: int = 0) -> Transition:
        """sigma (G, n), u (G, n, m1), v (G, n, m2) of one layer's gates, with a leading K in a pack."""
        raw: Tensor | None = getattr(self, f"singular_l{layer}")
        flat = None if raw is None else raw.flatten(-2)
        sigma = self._spectrum_of(flat, self.gates * self.hidden_size)
        sigma = sigma.reshape(*sigma.shape[:-1], self.gates, self.hidden_size)
        return Transition(sigma, getattr(self, f"reflectors_u_l{layer}"), getattr(self, f"reflectors_v_l{layer}"))

    def transitions(self) -> Iterator[Transition]:
        """One for each layer, gates as batch."""
        return (self.transition(layer) for layer in range(self.num_layers))

    def dense(self, layer: int = 0) -> Tensor:
        """W_hh of one layer, the gates' matrices one under another: (G n, n), or (K, G n, n) in a pack."""
        return dense_transition(self.transition(layer)).flatten(-3, -2)

    def singular_values(self) -> Tensor:
        """(layers * G, n), or (K, layers * G, n) in a pack."""
        return torch.cat([transition.sigma for transition in self.transitions()], dim=-2)

    def penalty(self) -> Tensor:
        """sum of |sigma - sigma*|^2 over all layers and gates, shape () or (K,): for spectrum='penalty'."""
        return singular_values.penalty(self.singular_values(), self._sigma.unsqueeze(-1)).sum(-1)

    @torch.no_grad()
    def set_dense(self, w: Tensor, layer: int = 0) -> None:
        """Takes the values that give W_hh = w (G n, n) in one layer. One trial only. Raises as SVD.set_dense."""
        n = self.hidden_size
        if self.trials is not None or w.shape != (self.gates * n, n):
            raise ShapeError(f"w must have shape {(self.gates * n, n)}, for one trial; found {tuple(w.shape)}")
        own = [values_of(part.to(self.weight_ih_l0), self.slots[0], self.spectrum) for part in torch.split(w, n)]
        for name, values in zip(("reflectors_u", "reflectors_v", "singular"), zip(*own, strict=True), strict=True):
            parameter = getattr(self, f"{name}_l{layer}")
            if parameter is not None:
                parameter.copy_(torch.stack([value for value in values if value is not None]))

    def free_parameters(self, k: int = 0) -> int:
        """Numbers that a trial can move."""
        n, (m1, m2) = self.hidden_size, self.slots[k].reflectors
        fixed = (m1 * m1 + m2 * m2 - m1 - m2) // 2
        gate = (m1 + m2 + int(self.bias) + int(self.spectrum != "fixed")) * n - fixed
        return sum(self.gates * (gate + self._width(layer) * n) for layer in range(self.num_layers))

    def extra_repr(self) -> str:
        """Sizes and options, for repr."""
        own = self.slots[0] if self.trials is None else self.slots
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, bias={self.bias}, "
            f"batch_first={self.batch_first}, dropout={self.dropout}, spectrum={self.spectrum!r}, "
            f"trials={self.trials}, {own}"
        )

    @abstractmethod
    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        """torch's own function: states after every step, then the last of each kind."""

    def _biases(self, layer: int) -> list[Tensor]:
        """bias_ih and bias_hh as torch's functions take them."""
        bias: Tensor = getattr(self, f"bias_l{layer}")
        return [bias, torch.zeros_like(bias)]

    def _run(
        self, input: Tensor | PackedSequence, hx: States | None, lengths: Tensor | None
    ) -> tuple[Any, tuple[Tensor, ...]]:
        like = input.data if isinstance(input, PackedSequence) else input
        with torch.autocast(like.device.type, enabled=False):
            weights = self._weights()
            if isinstance(input, PackedSequence):
                return self._packed_sequence(input, hx, lengths, weights)
            x, hx, lengths, unbatched = self._batched(input, hx, lengths)
            states = self._check_states(x, hx)
            x = x.to(self.weight_ih_l0.dtype)
            if self.trials is None:
                out, last = self._one(x, states, lengths, weights)
            else:
                parts = zip(*(y.unbind() for y in (x, *states)), strict=True)
                ends = [None] * self.trials if lengths is None else lengths.expand(self.trials, -1).unbind()
                found = [
                    self._one(own[0], own[1:], end, [w[k] for w in weights])
                    for k, (own, end) in enumerate(zip(parts, ends, strict=True))
                ]
                out = torch.stack([one for one, _ in found])
                last = tuple(torch.stack(kind) for kind in zip(*(own for _, own in found), strict=True))
        if unbatched:
            return out.squeeze(-2), tuple(kind.squeeze(-2) for kind in last)
        return (out.transpose(-2, -3) if self.batch_first else out), last

    def _batched(
        self, input: Tensor, hx: States | None, lengths: Tensor | None
    ) -> tuple[Tensor, States | None, Tensor | None, bool]:
        """Time major with a batch: x (..., T, B, I), states, lengths, and whether there was no batch."""
        lead = 0 if self.trials is None else 1
        if input.dim() not in (lead + 2, lead + 3):
            raise ShapeError(f"input must have {lead + 3} dimensions, or {lead + 2} unbatched; found {input.dim()}")
        unbatched = input.dim() == lead + 2
        if unbatched:
            x, hx = input.unsqueeze(-2), None if hx is None else tuple(kind.unsqueeze(-2) for kind in hx)
            lengths = None if lengths is None else lengths.unsqueeze(-1)
        else:
            x = input.transpose(-2, -3) if self.batch_first else input
        if lengths is not None:
            lengths = sequences.check_lengths(lengths, x.shape[-3], tuple(x.shape[:-3]), x.shape[-2])
        return x, hx, lengths, unbatched

    def _one(
        self, x: Tensor, states: Sequence[Tensor], lengths: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, States]:
        """One trial: x (T, B, I), states (L, B, n) each."""
        if x.shape[1] == 0:  # torch's kernels refuse an empty batch
            return x.new_zeros(*x.shape[:2], self.hidden_size), tuple(states)
        if lengths is None:
            out, *last = self._call((x, self._state(states)), weights, False)
            return out, tuple(last)
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        found, ends = self._sorted(packed, states, weights)
        return pad_packed_sequence(found, total_length=x.shape[0])[0], ends

    def _packed_sequence(
        self, input: PackedSequence, hx: States | None, lengths: Tensor | None, weights: list[Tensor]
    ) -> tuple[PackedSequence, States]:
        if self.trials is not None or lengths is not None:
            raise ShapeError("a PackedSequence has its own lengths and no trial axis; give padded input and `lengths`")
        rows = input.data.new_empty(1, int(input.batch_sizes[0]), input.data.shape[-1])
        return self._sorted(input, self._check_states(rows, hx), weights)

    def _sorted(
        self, packed: PackedSequence, states: Sequence[Tensor], weights: list[Tensor]
    ) -> tuple[PackedSequence, States]:
        data, sizes, into, back = packed
        if into is not None:
            states = [kind.index_select(-2, into) for kind in states]
        out, *last = self._call((data, sizes, self._state(states)), weights, None)
        ends = tuple(last if back is None else (kind.index_select(-2, back) for kind in last))
        return PackedSequence(out, sizes, into, back), ends

    def _call(self, given: tuple[Any, ...], weights: list[Tensor], batch_first: bool | None) -> tuple[Tensor, ...]:
        if given[0].is_cuda:
            weights = one_chunk(weights)
        dropout = self.dropout if self.training else 0.0
        # cuDNN keeps what backward needs in training mode alone
        train = self.training or torch.is_grad_enabled()
        order = () if batch_first is None else (batch_first,)
        return self._kernel(*given, weights, self.bias, self.num_layers, dropout, train, False, *order)

    def _state(self, states: Sequence[Tensor]) -> Any:
        laid = [kind.contiguous() for kind in states]
        return laid if self._kept > 1 else laid[0]

    def _weights(self) -> list[Tensor]:
        """As torch's functions take them: M, W and two biases of every layer."""
        found = []
        for layer in range(self.num_layers):
            found += [getattr(self, f"weight_ih_l{layer}"), self.dense(layer)]
            found += self._biases(layer) if self.bias else []
        return found

    def _check_states(self, x: Tensor, hx: States | None) -> States:
        lead = () if self.trials is None else (self.trials,)
        if x.shape[:-3] != lead or x.shape[-1] != self.input_size or x.shape[-3] < 1:
            wanted = ", ".join([*map(str, lead), "B, T" if self.batch_first else "T, B", str(self.input_size)])
            raise ShapeError(f"input must have shape ({wanted}), T >= 1; found {tuple(x.shape)} (time major)")
        shape = (*lead, self.num_layers, x.shape[-2], self.hidden_size)
        if hx is None:
            return (self.weight_ih_l0.new_zeros(shape),) * self._kept
        for kind in hx:
            if kind.shape != shape:
                raise ShapeError(f"h_0 and c_0 must have shape {shape}; found {tuple(kind.shape)}")
        return tuple(kind.to(self.weight_ih_l0.dtype) for kind in hx)

    def _first_values(self, layer: int, start: str, generator: torch.Generator | None) -> dict[str, Tensor | None]:
        n, rows = self.hidden_size, self.gates * self.hidden_size
        bound = 1 / math.sqrt(n)

        def uniform(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=torch.float64).uniform_(-bound, bound, generator=generator)

        weight, bias = uniform(rows, self._width(layer)), uniform(rows)
        gates = [init.reflectors(start, n, self.slots[0].reflectors, generator=generator) for _ in range(self.gates)]
        singular = self._first_singular(n)
        return {
            f"weight_ih_l{layer}": weight,
            f"bias_l{layer}": bias if self.bias else None,
            f"reflectors_u_l{layer}": torch.stack([u for u, _ in gates]),
            f"reflectors_v_l{layer}": torch.stack([v for _, v in gates]),
            f"singular_l{layer}": None if singular is None else singular.repeat(self.gates, 1),
        }

    def _fill(self, plain: Plain) -> Plain:
        """The weights of torch's own module set to ours. Raises PackError."""
        if self.trials is not None:
            raise PackError("torch's own modules hold one trial; take one out first with .trial(k)")
        with torch.no_grad():
            for value, weight in zip(plain.parameters(), self._weights(), strict=True):
                value.copy_(weight)
        return plain.train(self.training)

    def _width(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.hidden_size
