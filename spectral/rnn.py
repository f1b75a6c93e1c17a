"""SpectralRNN: torch.nn.RNN with the transition held as reflectors and singular values."""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral import packed, sequences, singular_values, starts
from spectral.errors import ConversionError, PackError, RangeError, ShapeError
from spectral.recurrence import Activation, recurrence
from spectral.recurrence.dispatch import check_backend
from spectral.transition import Transition
from spectral.transition import dense as dense_transition


@dataclass(frozen=True)
class Slot:
    """What one trial of a pack has of its own."""

    reflectors: tuple[int, int]
    margin: float
    sigma: float

    def check(self, size: int, spectrum: str) -> None:
        """Raises ReflectorCountError, RangeError."""
        for count, name in zip(self.reflectors, ("m1", "m2"), strict=True):
            starts.check_reflectors(size, count, name)
        singular_values.check_sigma(self.sigma)
        if spectrum in ("sigmoid", "clip"):
            singular_values.check_margin(self.margin)


class SpectralRNN(nn.Module):
    """An Elman RNN, h_t = phi(W h_{t-1} + M x_t + b), with W = U diag(sigma) V^T as in Zhang, Lei & Dhillon 2018.

    Arguments up to dtype, shapes and results are those of torch.nn.RNN; nonlinearity may also be leaky_relu
    (slope `negative_slope`) or identity. Keyword-only: `reflectors` m, or (m1, m2), each from 0 to hidden_size;
    `margin` r in (0, 1] and `sigma` >= 0: singular values stay in [sigma - r, sigma + r]; over T steps a state grows
    at most by (sigma + r)^T, so r <= 1/T is the default advice; `spectrum` the map that keeps them there
    (singular_values.py); `backend` (recurrence/dispatch.py); `start` (starts.py); `generator` for the first values.

    `start="gaussian"`, the default, is the paper's. With few reflectors it is near the identity on n - m1 - m2
    dimensions, which is what lets a relu net learn, it mixes units from the first step on, and it exists for every
    m1, m2. `identity` (needs m1 = m2) is the IRNN start.

    Parameters of layer l (suffix _reverse for the second direction): weight_ih_l (n, n_i), bias_l (n), one bias where
    torch.nn.RNN has two, reflectors_u_l (n, m1), reflectors_v_l (n, m2), singular_l (n). The first j entries of column
    j of the reflectors are zero and have zero gradient; without them the count is the paper's,
    (n_i + m1 + m2 + 2) n - (m1^2 + m2^2 - m1 - m2) / 2: see `free_parameters`. weight_ih and bias start from
    U(-1/sqrt(n), 1/sqrt(n)), as in torch.nn.RNN.

    A pack (see `pack`) holds K trials: every parameter has a leading axis K, input is (K, T, B, I), or (K, B, T, I)
    with batch_first, output likewise, and h_0, h_n are (K, layers * directions, B, n).
    Dropout draws from torch's own generator, so trials of a pack see other masks than they would alone.

    Raises OptionError, RangeError, ReflectorCountError; forward raises ShapeError, PackError.
    """

    weight_ih_l0: Tensor
    _margin: Tensor
    _sigma: Tensor

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
        spectrum: singular_values.Spectrum = "sigmoid",
        backend: str = "auto",
        start: starts.Start = "gaussian",
        negative_slope: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(input_size, hidden_size, num_layers, dropout)
        singular_values.check_spectrum(spectrum)
        check_backend(backend)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout, self.bidirectional = (
            bias,
            batch_first,
            dropout,
            bidirectional,
        )
        self.activation = Activation(nonlinearity, negative_slope)
        self.spectrum: str = spectrum
        self.backend = backend
        counts = (reflectors, reflectors) if isinstance(reflectors, int) else tuple(reflectors)
        if len(counts) != 2:
            raise ShapeError(f"reflectors must be one count or two, (m1, m2); found {reflectors!r}")
        slot = Slot((counts[0], counts[1]), float(margin), float(sigma))
        slot.check(hidden_size, spectrum)
        self.slots: tuple[Slot, ...] = (slot,)
        """What each trial has of its own; one entry where this is no pack."""
        self.trials: int | None = None
        """K for a pack, None for one trial."""
        self._add_parameters(start, generator, device, dtype)
        self._set_band()

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """output and h_n, as torch.nn.RNN gives them.

        `lengths`, (B,) or (K, B), each in [1, T], says how many steps of each padded sequence count: output is zero
        past them and h_n is the state after the last that counts. It does for packs what PackedSequence does alone.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed_sequence(input, hx, lengths)
        lead = 0 if self.trials is None else 1
        if input.dim() not in (lead + 2, lead + 3):
            raise ShapeError(
                f"input must have {lead + 3} dimensions, or {lead + 2} unbatched; found {input.dim()}"
            )
        unbatched = input.dim() == lead + 2
        if unbatched:
            x, hx = input.unsqueeze(-2), None if hx is None else hx.unsqueeze(-2)
        else:
            x = input.transpose(-2, -3) if self.batch_first else input
        if lengths is not None:
            lengths = lengths.unsqueeze(-1) if unbatched else lengths
            lengths = sequences.check_lengths(lengths, x.shape[-3], tuple(x.shape[:-3]), x.shape[-2]).to(
                x.device
            )
        out, h_n = self._run(x, hx, lengths)
        if unbatched:
            return out.squeeze(-2), h_n.squeeze(-2)
        return (out.transpose(-2, -3) if self.batch_first else out), h_n

    def transition(self, layer: int = 0, *, reverse: bool = False) -> Transition:
        """sigma (n), u (n, m1), v (n, m2) of one layer and direction, with a leading K in a pack."""
        suffix = _suffix(layer, reverse)
        sigma = singular_values.from_raw(
            self.spectrum, getattr(self, f"singular{suffix}"), self._sigma, self._margin, self.hidden_size
        )
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
        """sum of |sigma - sigma*|^2 over all layers, shape () or (K,): add it to the loss with spectrum='penalty'."""
        return singular_values.penalty(self.singular_values(), self._sigma.unsqueeze(-1)).sum(-1)

    def reflector_parameters(self) -> Iterator[nn.Parameter]:
        """The raw reflectors: for a parameter group of their own."""
        return (p for name, p in self.named_parameters() if name.startswith("reflectors_"))

    def singular_parameters(self) -> Iterator[nn.Parameter]:
        """The raw singular values: the sigmoid map's slope is margin / 2, so their step should grow as 1 / margin."""
        return (p for name, p in self.named_parameters() if name.startswith("singular"))

    @torch.no_grad()
    def normalize_(self) -> None:
        """Every reflector scaled to length 1, after an optimiser step: W is unchanged, and so are the steps to come."""
        for raw in self.reflector_parameters():
            length = torch.linalg.vector_norm(raw, dim=-2, keepdim=True)
            raw.div_(length.masked_fill(length == 0, 1.0))

    def free_parameters(self, k: int = 0) -> int:
        """Numbers that a trial can move: for one layer without readout, the paper's count (section 4.2)."""
        n, (m1, m2) = self.hidden_size, self.slots[k].reflectors
        fixed = (m1 * m1 + m2 * m2 - m1 - m2) // 2
        own = (m1 + m2 + int(self.bias) + int(self.spectrum != "fixed")) * n - fixed
        return sum(own + self._width(layer) * n for layer, _ in self._places())

    @classmethod
    def pack(cls, trials: Sequence["SpectralRNN"]) -> "SpectralRNN":
        """One module with a leading trial axis from separately built ones; values are copied.

        Reflector counts, margins and sigma may differ: shorter sets are padded with zero columns, which are the
        identity and have gradient exactly 0. Everything else must agree. Raises PackError.
        """
        _check_alike(trials)
        named = [dict(trial.named_parameters()) for trial in trials]
        values = {name: packed.stack_trials([one[name].detach() for one in named]) for name in named[0]}
        slots = tuple(slot for trial in trials for slot in trial.slots)
        return trials[0]._with(values, slots, len(trials))

    def trial(self, k: int) -> "SpectralRNN":
        """Trial k of a pack as a module of its own, without its padding; values are copied. Raises PackError."""
        packed.check_trial(k, self.trials)
        counts = dict(zip(("reflectors_u", "reflectors_v"), self.slots[k].reflectors, strict=True))
        values = {}
        for name, parameter in self.named_parameters():
            width = counts.get(name.rsplit("_l", 1)[0], parameter.shape[-1])
            values[name] = parameter.detach()[k, ..., :width].clone()
        return self._with(values, (self.slots[k],), None)

    def to_rnn(self) -> nn.RNN:
        """A plain torch.nn.RNN with the same outputs; W is formed. Raises ConversionError, PackError."""
        if self.trials is not None:
            raise PackError("torch.nn.RNN holds one trial; take one out first with .trial(k)")
        if self.activation.name not in ("tanh", "relu"):
            raise ConversionError(
                f"torch.nn.RNN has tanh and relu alone; this net uses {self.activation.name!r}"
            )
        like = self.weight_ih_l0
        rnn = nn.RNN(
            self.input_size, self.hidden_size, self.num_layers, self.activation.name, self.bias, self.batch_first,
            self.dropout, self.bidirectional, device=like.device, dtype=like.dtype,
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
            f"backend={self.backend!r}, trials={self.trials}, {own}"
        )

    def _run(self, x: Tensor, hx: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (..., T, B, I) time major, lengths (..., B) -> all states (..., T, B, D n), last ones (..., L D, B, n)."""
        h0 = self._check_input(x, hx)
        here = None if lengths is None else sequences.mask(lengths, x.shape[-3])
        lengths = None if lengths is None else lengths.expand(*x.shape[:-3], x.shape[-2])
        finals: list[Tensor] = []
        for layer in range(self.num_layers):
            outputs = []
            for reverse in (False, True)[: self._directions]:
                states, final = self._direction(x, h0[..., len(finals), :, :], layer, reverse, lengths)
                outputs.append(states)
                finals.append(final)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
            if here is not None:
                x = torch.where(here, x, torch.zeros_like(x))
            if self.dropout and layer + 1 < self.num_layers:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, torch.stack(finals, -3)

    def _direction(
        self, x: Tensor, h0: Tensor, layer: int, reverse: bool, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        suffix = _suffix(layer, reverse)
        x = sequences.backwards(x, lengths) if reverse else x
        weight, bias = getattr(self, f"weight_ih{suffix}"), getattr(self, f"bias{suffix}")
        z = nn.functional.linear(x, weight, bias) if self.trials is None else packed.linear(x, weight, bias)
        states = recurrence(
            z, h0, self.transition(layer, reverse=reverse), self.activation, backend=self.backend
        )
        final = sequences.last(states, lengths)
        return (sequences.backwards(states, lengths) if reverse else states), final

    def _forward_packed_sequence(
        self, input: PackedSequence, hx: Tensor | None, lengths: Tensor | None
    ) -> tuple[PackedSequence, Tensor]:
        if self.trials is not None or lengths is not None:
            raise ShapeError(
                "a PackedSequence has no trial axis and its own lengths; give a pack padded input and `lengths`"
            )
        x, lengths = sequences.pad(input)
        if hx is not None and input.sorted_indices is not None:
            hx = hx.index_select(-2, input.sorted_indices)
        out, h_n = self._run(x, hx, lengths)
        if input.unsorted_indices is not None:
            h_n = h_n.index_select(-2, input.unsorted_indices)
        return sequences.unpad(out, lengths, input), h_n

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

    def _add_parameters(
        self,
        start: str,
        generator: torch.Generator | None,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        dtype = dtype or torch.get_default_dtype()
        n, slot = self.hidden_size, self.slots[0]
        bound = 1 / math.sqrt(n)
        for layer, reverse in self._places():
            suffix = _suffix(layer, reverse)
            weight = torch.empty(n, self._width(layer), dtype=torch.float64).uniform_(
                -bound, bound, generator=generator
            )
            bias = torch.empty(n, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
            u, v = starts.reflectors(start, n, slot.reflectors, generator=generator)
            values: dict[str, Tensor | None] = {
                "weight_ih": weight,
                "bias": bias if self.bias else None,
                "reflectors_u": u,
                "reflectors_v": v,
                "singular": None,
            }
            if self.spectrum != "fixed":
                values["singular"] = torch.full(
                    (n,), 0.0 if self.spectrum == "sigmoid" else slot.sigma, dtype=torch.float64
                )
            for name, value in values.items():
                parameter = None if value is None else nn.Parameter(value.to(device=device, dtype=dtype))
                self.register_parameter(name + suffix, parameter)

    def _with(self, values: dict[str, Tensor], slots: tuple[Slot, ...], trials: int | None) -> "SpectralRNN":
        other = copy.deepcopy(self)
        for name, value in values.items():
            setattr(other, name, nn.Parameter(value, requires_grad=getattr(self, name).requires_grad))
        other.slots, other.trials = slots, trials
        other._set_band()
        return other

    def _set_band(self) -> None:
        """margin and sigma* as tensors beside the parameters; the slots stay their source, so no cast rounds them."""
        like = self.weight_ih_l0
        for name in ("margin", "sigma"):
            own = [getattr(slot, name) for slot in self.slots]
            value = torch.tensor(own[0] if self.trials is None else own, dtype=like.dtype, device=like.device)
            self.register_buffer(f"_{name}", value, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # untyped in torch
        self._set_band()
        return self

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _places(self) -> Iterator[tuple[int, bool]]:
        return (
            (layer, reverse)
            for layer in range(self.num_layers)
            for reverse in (False, True)[: self._directions]
        )

    def _width(self, layer: int) -> int:
        return self.input_size if layer == 0 else self.hidden_size * self._directions


def _suffix(layer: int, reverse: bool) -> str:
    return f"_l{layer}" + ("_reverse" if reverse else "")


def _check_sizes(input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
        if value < 1:
            raise RangeError(f"{name} must be at least 1; found {value}")
    if not 0 <= dropout <= 1:
        raise RangeError(f"dropout must lie in [0, 1]; found {dropout}")


def _check_alike(trials: Sequence[SpectralRNN]) -> None:
    if not trials:
        raise PackError("a pack needs at least one trial; found none")
    if any(trial.trials is not None for trial in trials):
        raise PackError("a pack is made of single trials; take them out of their packs first with .trial(k)")
    names = ("input_size", "hidden_size", "num_layers", "activation", "bias", "batch_first", "dropout",
             "bidirectional", "spectrum", "backend", "training")  # fmt: skip
    for name in names:
        found = {getattr(trial, name) for trial in trials}
        if len(found) > 1:
            raise PackError(f"trials of a pack must agree in {name}; found {sorted(map(str, found))}")
