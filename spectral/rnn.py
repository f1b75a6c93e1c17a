"""SpectralRNN: torch.nn.RNN with the transition held as reflectors and singular values."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral import init, sequences, singular_values
from spectral.errors import ConversionError, PackError, RangeError, ShapeError
from spectral.pack import Slot, Trials, counts
from spectral.recurrence import Activation
from spectral.recurrence.dispatch import Cell, check_backend, check_checkpoint_every, stack
from spectral.roles import ParameterRole
from spectral.singular_values import Spectrum
from spectral.svd import values_of
from spectral.transition import Transition
from spectral.transition import dense as dense_transition


class SpectralRNN(Trials):
    """An Elman RNN, h_t = phi(W h_{t-1} + M x_t + b), whose W = U diag(sigma) V^T (Zhang et al. 2018).

    Arguments up to dtype, shapes and results are those of torch.nn.RNN; nonlinearity may also be
    leaky_relu (slope `negative_slope`), identity or modrelu, sign(z) relu(|z| + b) with a learned b.
    Keyword-only: `reflectors` m, or (m1, m2), each from 0 to hidden_size; `margin` r in (0, 1] and
    `sigma` >= 0: singular values stay in [sigma - r, sigma + r]; over T steps a state grows at most by
    (sigma + r)^T, so r <= 1/T is the default advice; `spectrum` the map that keeps them there
    (singular_values.py); `backend` (recurrence/dispatch.py); `start` (init.py); `generator` for the
    first values; `checkpoint_every` S for long sequences: backward keeps every S-th state alone and
    computes those between again, one forward more; S near sqrt(T) needs the least memory. Where the last
    states are all that is read, `last_state` then makes no array of the size of all states at all.

    `start="gaussian"`, the default, is the paper's and exists for every m1, m2. With few reflectors it is the
    identity but for m1 + m2 dimensions, so gradients of a relu net live on, and it mixes units from the first
    step on. `identity` (needs m1 = m2) is the IRNN start; on the adding problem (T = 100, n = 64, 8 + 8, relu,
    Adam) it learned later than gaussian. Near-full sets: henaff or cayley.

    Parameters of layer l (suffix _reverse for the second direction): weight_ih_l (n, n_i), bias_l (n),
    one bias where torch.nn.RNN has two, reflectors_u_l (n, m1), reflectors_v_l (n, m2), singular_l (n),
    and with modrelu its offset_l (n), which starts at 0: the net is linear then, and keeps gradients
    best. The first j entries of column j of the reflectors are zero and have zero gradient; without them
    the count is the paper's, (n_i + m1 + m2 + 2) n - (m1^2 + m2^2 - m1 - m2) / 2, and n more with
    modrelu: see `free_parameters`. weight_ih and bias start from U(-1/sqrt(n), 1/sqrt(n)), as in
    torch.nn.RNN.

    A pack (see `pack`) holds K trials: every parameter has a leading axis K, input is (K, T, B, I), or (K, B,
    T, I) with batch_first, output likewise, and h_0, h_n are (K, layers * directions, B, n). Dropout draws
    from torch's own generator, so trials of a pack see other masks than they would alone.

    Raises OptionError, RangeError, ReflectorCountError; forward raises ShapeError, PackError.
    """

    weight_ih_l0: Tensor
    _alike = ("input_size", "hidden_size", "num_layers", "activation", "bias", "batch_first", "dropout",
              "bidirectional", "backend", "checkpoint_every")  # fmt: skip
    parameter_roles: ClassVar[Mapping[str, ParameterRole]] = {**Trials.parameter_roles, "offset": "threshold"}

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reflectors: int | tuple[int, int] = 16,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
        backend: str = "auto",
        checkpoint_every: int | None = None,
        start: init.InitName = "gaussian",
        negative_slope: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        check_sizes(input_size, hidden_size, num_layers, dropout)
        check_backend(backend)
        check_checkpoint_every(checkpoint_every)
        slot = Slot(counts(reflectors), float(margin), float(sigma))
        slot.check(hidden_size, spectrum)
        super().__init__(slot, spectrum)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = (
            bias,
            batch_first,
            dropout,
            bidirectional,
        )
        self.activation = Activation(nonlinearity, negative_slope)
        self.backend, self.checkpoint_every = backend, checkpoint_every
        for layer, reverse in self._places():
            self._set_parameters(self._first_values(layer, reverse, start, generator), device, dtype)
        self._set_band()

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """output and h_n, as torch.nn.RNN gives them.

        `lengths`, (B,) or (K, B), each in [1, T], says how many steps of each padded sequence count: output
        is zero past them and h_n is the state after the last that counts. It does for packs what
        PackedSequence does alone.
        """
        return self._forward(input, hx, lengths, wanted=True)

    def last_state(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> Tensor:
        """h_n alone, as forward gives it. With checkpoint_every, one direction and no dropout between layers,
        memory is T / S + S states h for each layer rather than T.
        """
        h_n: Tensor = self._forward(input, hx, lengths, wanted=False)[1]
        return h_n

    def _forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None, lengths: Tensor | None, *, wanted: bool
    ) -> tuple[Any, Tensor]:
        if isinstance(input, PackedSequence):
            return self._forward_packed_sequence(input, hx, lengths, wanted)
        lead = 0 if self.trials is None else 1
        if input.dim() not in (lead + 2, lead + 3):
            raise ShapeError(f"input must have {lead + 3} dimensions, or {lead + 2} unbatched; found {input.dim()}")
        unbatched = input.dim() == lead + 2
        if unbatched:
            x, hx = input.unsqueeze(-2), None if hx is None else hx.unsqueeze(-2)
        else:
            x = input.transpose(-2, -3) if self.batch_first else input
        if lengths is not None:
            lengths = lengths.unsqueeze(-1) if unbatched else lengths
            lengths = sequences.check_lengths(lengths, x.shape[-3], tuple(x.shape[:-3]), x.shape[-2]).to(x.device)
        out, h_n = self._run(x, hx, lengths, wanted)
        h_n = h_n.squeeze(-2) if unbatched else h_n
        if out is None:
            return None, h_n
        if unbatched:
            return out.squeeze(-2), h_n
        return (out.transpose(-2, -3) if self.batch_first else out), h_n

    def transition(self, layer: int = 0, *, reverse: bool = False) -> Transition:
        """sigma (n), u (n, m1), v (n, m2) of one layer and direction, with a leading K in a pack."""
        suffix = _suffix(layer, reverse)
        sigma = self._spectrum_of(getattr(self, f"singular{suffix}"), self.hidden_size)
        u, v = getattr(self, f"reflectors_u{suffix}"), getattr(self, f"reflectors_v{suffix}")
        return Transition(sigma, u, v)

    def transitions(self) -> Iterator[Transition]:
        """All transitions: layer by layer, forward before reverse."""
        for layer, reverse in self._places():
            yield self.transition(layer, reverse=reverse)

    def dense(self, layer: int = 0, *, reverse: bool = False) -> Tensor:
        """W of one layer and direction: (n, n), or (K, n, n) in a pack."""
        return dense_transition(self.transition(layer, reverse=reverse))

    def singular_values(self) -> Tensor:
        """(layers * directions, n), or (K, layers * directions, n) in a pack."""
        return torch.stack([transition.sigma for transition in self.transitions()], dim=-2)

    def penalty(self) -> Tensor:
        """sum of |sigma - sigma*|^2 over all layers, shape () or (K,): add it to the loss with
        spectrum='penalty'.
        """
        return singular_values.penalty(self.singular_values(), self._sigma.unsqueeze(-1)).sum(-1)

    def free_parameters(self, k: int = 0) -> int:
        """Numbers that a trial can move: for one layer without readout, the paper's count; n more with modrelu."""
        n, (m1, m2) = self.hidden_size, self.slots[k].reflectors
        fixed = (m1 * m1 + m2 * m2 - m1 - m2) // 2
        vectors = int(self.bias) + int(self.spectrum != "fixed") + int(self.activation.has_offset)
        own = (m1 + m2 + vectors) * n - fixed
        return sum(own + self._width(layer) * n for layer, _ in self._places())

    @torch.no_grad()
    def set_dense(self, w: Tensor, layer: int = 0, *, reverse: bool = False) -> None:
        """Takes the values that give W = w (n, n) in one layer and direction. One trial only. Raises as
        SVD.set_dense.
        """
        n, suffix = self.hidden_size, _suffix(layer, reverse)
        if self.trials is not None or w.shape != (n, n):
            raise ShapeError(f"w must have shape {(n, n)}, for one trial; found {tuple(w.shape)}")
        values = values_of(w.to(self.weight_ih_l0), self.slots[0], self.spectrum)
        for name, value in zip(("reflectors_u", "reflectors_v", "singular"), values, strict=True):
            if value is not None:
                getattr(self, f"{name}{suffix}").copy_(value)

    def to_rnn(self) -> nn.RNN:
        """A plain torch.nn.RNN with the same outputs; W is formed. Raises ConversionError, PackError."""
        if self.trials is not None:
            raise PackError("torch.nn.RNN holds one trial; take one out first with .trial(k)")
        if self.activation.name not in ("tanh", "relu"):
            raise ConversionError(f"torch.nn.RNN has tanh and relu alone; this net uses {self.activation.name!r}")
        like = self.weight_ih_l0
        rnn = nn.RNN(
            self.input_size, self.hidden_size, self.num_layers, self.activation.name, self.bias,
            self.batch_first, self.dropout, self.bidirectional, device=like.device, dtype=like.dtype,
        )  # fmt: skip
        with torch.no_grad():
            for layer, reverse in self._places():
                suffix = _suffix(layer, reverse)
                getattr(rnn, f"weight_ih{suffix}").copy_(getattr(self, f"weight_ih{suffix}"))
                getattr(rnn, f"weight_hh{suffix}").copy_(self.dense(layer, reverse=reverse))
                if self.bias:
                    getattr(rnn, f"bias_ih{suffix}").copy_(getattr(self, f"bias{suffix}"))
                    getattr(rnn, f"bias_hh{suffix}").zero_()
        return rnn.train(self.training)

    def extra_repr(self) -> str:
        """Sizes and options, for repr."""
        own = self.slots[0] if self.trials is None else self.slots
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"nonlinearity={self.activation.name!r}, bias={self.bias}, batch_first={self.batch_first}, "
            f"dropout={self.dropout}, bidirectional={self.bidirectional}, spectrum={self.spectrum!r}, "
            f"backend={self.backend!r}, checkpoint_every={self.checkpoint_every}, trials={self.trials}, {own}"
        )

    def _run(self, x: Tensor, hx: Tensor | None, lengths: Tensor | None, wanted: bool) -> tuple[Tensor | None, Tensor]:
        """x (..., T, B, I) time major, lengths (..., B) -> all states (..., T, B, D n), None unless wanted, and
        the last ones (..., L D, B, n).
        """
        h0 = self._check_input(x, hx)
        here = None if lengths is None else sequences.mask(lengths, x.shape[-3])
        lengths = None if lengths is None else lengths.expand(*x.shape[:-3], x.shape[-2])
        if self.checkpoint_every is not None and not self.bidirectional and not self._drops:
            cells = [self._cell(layer, False) for layer in range(self.num_layers)]
            out, finals = self._stack(x, h0, cells, lengths, wanted)
            return (out if out is None or here is None else torch.where(here, out, torch.zeros_like(out))), finals
        lasts: list[Tensor] = []
        for layer in range(self.num_layers):
            top = layer + 1 == self.num_layers
            outputs = []
            for reverse in (False, True)[: self._directions]:
                states, last = self._direction(x, h0, layer, reverse, lengths, wanted or not top)
                outputs.append(states)
                lasts.append(last)
            if top and not wanted:
                return None, torch.cat(lasts, -3)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
            if here is not None:
                x = torch.where(here, x, torch.zeros_like(x))
            if self._drops and not top:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, torch.cat(lasts, -3)

    def _direction(
        self, x: Tensor, h0: Tensor, layer: int, reverse: bool, lengths: Tensor | None, wanted: bool
    ) -> tuple[Any, Tensor]:
        x = sequences.backwards(x, lengths) if reverse else x
        place = layer * self._directions + reverse
        states, last = self._stack(x, h0[..., place : place + 1, :, :], [self._cell(layer, reverse)], lengths, wanted)
        return (sequences.backwards(states, lengths) if reverse and states is not None else states), last

    def _stack(
        self, x: Tensor, h0: Tensor, cells: list[Cell], lengths: Tensor | None, wanted: bool
    ) -> tuple[Tensor | None, Tensor]:
        return stack(
            x, h0, cells, self.activation,
            lengths=lengths, backend=self.backend, checkpoint_every=self.checkpoint_every, wanted=wanted,
        )  # fmt: skip

    def _cell(self, layer: int, reverse: bool) -> Cell:
        suffix = _suffix(layer, reverse)
        transition = self.transition(layer, reverse=reverse)
        offset = getattr(self, f"offset{suffix}") if self.activation.has_offset else None
        return Cell(getattr(self, f"weight_ih{suffix}"), getattr(self, f"bias{suffix}"), transition, offset)

    def _forward_packed_sequence(
        self, input: PackedSequence, hx: Tensor | None, lengths: Tensor | None, wanted: bool
    ) -> tuple[PackedSequence | None, Tensor]:
        if self.trials is not None or lengths is not None:
            raise ShapeError("a PackedSequence has its own lengths and no trial axis; give padded input and `lengths`")
        x, lengths = sequences.pad(input)
        if hx is not None and input.sorted_indices is not None:
            hx = hx.index_select(-2, input.sorted_indices)
        out, h_n = self._run(x, hx, lengths, wanted)
        if input.unsorted_indices is not None:
            h_n = h_n.index_select(-2, input.unsorted_indices)
        return None if out is None else sequences.unpad(out, lengths, input), h_n

    def _check_input(self, x: Tensor, hx: Tensor | None) -> Tensor:
        lead = () if self.trials is None else (self.trials,)
        if x.shape[:-3] != lead or x.shape[-1] != self.input_size:
            order = "B, T" if self.batch_first else "T, B"
            wanted = ", ".join([*map(str, lead), order, str(self.input_size)])
            raise ShapeError(f"input must have shape ({wanted}); found {tuple(x.shape)} (time major)")
        shape = (*lead, self.num_layers * self._directions, x.shape[-2], self.hidden_size)
        if hx is None:
            return x.new_zeros(shape)
        if hx.shape != shape:
            raise ShapeError(f"h_0 must have shape {shape}; found {tuple(hx.shape)}")
        return hx

    def _first_values(
        self, layer: int, reverse: bool, start: str, generator: torch.Generator | None
    ) -> dict[str, Tensor | None]:
        n, suffix = self.hidden_size, _suffix(layer, reverse)
        bound = 1 / math.sqrt(n)
        weight = torch.empty(n, self._width(layer), dtype=torch.float64)
        weight.uniform_(-bound, bound, generator=generator)
        bias = torch.empty(n, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        u, v = init.reflectors(start, n, self.slots[0].reflectors, generator=generator)
        offset = {f"offset{suffix}": torch.zeros(n, dtype=torch.float64)} if self.activation.has_offset else {}
        return {
            f"weight_ih{suffix}": weight,
            f"bias{suffix}": bias if self.bias else None,
            f"reflectors_u{suffix}": u,
            f"reflectors_v{suffix}": v,
            f"singular{suffix}": self._first_singular(n),
            **offset,
        }

    @property
    def _drops(self) -> bool:
        return self.training and self.dropout > 0 and self.num_layers > 1

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _places(self) -> Iterator[tuple[int, bool]]:
        return ((layer, reverse) for layer in range(self.num_layers) for reverse in (False, True)[: self._directions])

    def _width(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.hidden_size * self._directions


def _suffix(layer: int, reverse: bool) -> str:
    return f"_l{layer}" + ("_reverse" if reverse else "")


def check_sizes(input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
    """Raises RangeError."""
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value < 1:
            raise RangeError(f"{name} must be at least 1; found {value}")
    if not 0 <= dropout <= 1:
        raise RangeError(f"dropout must lie in [0, 1]; found {dropout}")
