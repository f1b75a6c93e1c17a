"""The base of the recurrent modules: checks of sizes and options, and the conversion of inputs and states."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from spectral import sequences, singular_values
from spectral.errors import PackError, RangeError, ShapeError
from spectral.pack import PackableModule, Slot, reflector_counts
from spectral.singular_values import Spectrum

States = tuple[Tensor, ...]
"""(h,), or for an LSTM (h, c): each (layers * directions, B, n), with a leading K in a pack."""


class TimeMajor(NamedTuple):
    """The caller's input, states and lengths, brought into one layout: time before batch, and always a batch."""

    x: Tensor
    """Shape (..., T, B, I)."""
    states: States | None
    """Each of shape (..., layers * directions, B, n); None if the caller gave none."""
    lengths: Tensor | None
    """Shape (B,) or (K, B); None if the caller gave none."""
    unbatched: bool
    """Whether the caller's input had no batch dimension; B is then 1."""


class RecurrentModule(PackableModule, ABC):
    """Base of SpectralRNN and GatedRNN: a recurrent module whose recurrent matrices are U diag(sigma) V^T.

    Args:
        input_size: The number of features of the input.
        hidden_size: n, the number of units of each layer.
        num_layers: The number of layers.
        bias: Whether layers have a bias.
        batch_first: Whether input and output are (B, T, ...) instead of (T, B, ...).
        dropout: The probability of dropout between layers, in [0, 1].
        reflectors: m for both sides, or (m1, m2), each from 0 to ``hidden_size``.
        margin: r in (0, 1]: singular values stay in [sigma - r, sigma + r]. ``penalty`` and ``fixed`` do not use it.
        sigma: The centre of that band, >= 0, and the value of every singular value at the start.
        spectrum: ``sigmoid`` and ``clip`` keep singular values in the band, ``penalty`` leaves them free, and ``fixed``
            holds them all at sigma; see ``spectral.singular_map``.

    Raises:
        OptionError: If ``spectrum`` has none of these values.
        RangeError: If a size is below 1, or dropout, margin or sigma is out of range.
        ReflectorCountError: If a number of reflectors is not an integer from 0 to ``hidden_size``.
        ShapeError: If ``reflectors`` is neither one number nor two.
    """

    _shared_options: ClassVar[tuple[str, ...]] = (
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
    )
    _state_names: ClassVar[str] = "h_0"
    """The name of the initial states in error messages."""
    weight_ih_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        *,
        reflectors: int | tuple[int, int],
        margin: float,
        sigma: float,
        spectrum: Spectrum,
    ) -> None:
        for name, value in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value < 1:
                raise RangeError(f"{name} must be at least 1; found {value}")
        if not 0 <= dropout <= 1:
            raise RangeError(f"dropout must lie in [0, 1]; found {dropout}")
        slot = Slot(reflector_counts(reflectors), float(margin), float(sigma))
        slot.check(hidden_size, spectrum)
        super().__init__(slot, spectrum)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout

    @abstractmethod
    def singular_values(self) -> Tensor:
        """Return the singular values of all recurrent matrices, (matrices, n), or (K, matrices, n) in a pack."""

    def penalty(self) -> Tensor:
        """Return the sum of (sigma_i - sigma*)^2 over all recurrent matrices, shape () or (K,).

        sigma* is the argument ``sigma``. With spectrum='penalty', add a multiple of the sum to the loss.
        """
        return singular_values.penalty(self.singular_values(), self._sigma.unsqueeze(-1)).sum(-1)

    @property
    def _directions(self) -> int:
        """The number of directions of each layer: 2 for a bidirectional module, else 1."""
        return 1

    @property
    def _lead(self) -> tuple[int, ...]:
        """The leading dimensions of inputs, states and parameters: () for a single trial, (K,) for a pack."""
        return () if self.trials is None else (self.trials,)

    def _input_width(self, layer: int) -> int:
        """Return how many features a layer takes as input at each step; layer 0 takes ``input_size``."""
        return self.input_size if layer == 0 else self.hidden_size * self._directions

    def _uniform(self, *shape: int, generator: torch.Generator | None) -> Tensor:
        """Draw initial values from U(-1/sqrt(n), 1/sqrt(n)) in float64, as torch's recurrent modules do."""
        bound = 1 / math.sqrt(self.hidden_size)
        return torch.empty(shape, dtype=torch.float64, device="cpu").uniform_(-bound, bound, generator=generator)

    def _free_matrix_parameters(self, k: int) -> int:
        """Return how many numbers of trial k one recurrent matrix has: those of its reflectors and singular values.

        The first j entries of column j of the reflectors are zero and do not count. With spectrum='fixed' there are no
        singular values to count.
        """
        n, (m1, m2) = self.hidden_size, self.slots[k].reflectors
        return (m1 + m2 + int(self.spectrum != "fixed")) * n - (m1 * m1 + m2 * m2 - m1 - m2) // 2

    def _set_matrix(self, suffix: str, parameters: Sequence[Tensor | None]) -> None:
        """Copy new values into the parameters of one recurrent matrix.

        Args:
            suffix: The end of the parameters' names, such as ``_l0``.
            parameters: Reflectors u and v and raw singular values, in this order; a None is skipped.
        """
        for name, value in zip(("reflectors_u", "reflectors_v", "singular"), parameters, strict=True):
            if value is not None:
                getattr(self, f"{name}{suffix}").copy_(value)

    def _time_major(self, input: Tensor, states: States | None, lengths: Tensor | None) -> TimeMajor:
        """Bring the caller's input, states and lengths into the layout that all computations use.

        The shapes of the states, and the sizes of the input beside its number of dimensions, are checked later, in
        ``_initial_states``.

        Raises:
            ShapeError: If the input has the wrong number of dimensions, or the lengths do not fit the batch.
            RangeError: If a length is not an integer in [1, T].
        """
        dims = len(self._lead) + 3
        if input.dim() not in (dims - 1, dims):
            raise ShapeError(
                f"input must have {dims} dimensions, or {dims - 1} dimensions without a batch; "
                f"found {input.dim()}, shape {tuple(input.shape)}"
            )
        unbatched = input.dim() == dims - 1
        if unbatched:
            x, states = input.unsqueeze(-2), None if states is None else tuple(s.unsqueeze(-2) for s in states)
            lengths = None if lengths is None else lengths.unsqueeze(-1)
        else:
            x = input.transpose(-2, -3) if self.batch_first else input
        if lengths is not None:
            lengths = sequences.check_lengths(lengths, x.shape[-3], tuple(x.shape[:-3]), x.shape[-2])
        return TimeMajor(x, states, lengths, unbatched)

    def _caller_layout(self, output: Tensor, unbatched: bool) -> Tensor:
        """Return a time-major output (..., T, B, H) in the layout of the caller's input.

        That is (..., T, H) if the input was ``unbatched``, else (..., B, T, H) with ``batch_first``.
        """
        if unbatched:
            return output.squeeze(-2)
        return output.transpose(-2, -3) if self.batch_first else output

    def _initial_states(self, x: Tensor, states: States | None, count: int) -> States:
        """Return the initial states in the dtype of the parameters.

        Args:
            x: The time-major input (..., T, B, I), whose shape is checked.
            states: The caller's initial states, or None for zeros.
            count: How many tensors of zeros to return if ``states`` is None; not checked against given states.

        Raises:
            ShapeError: If x or a state has the wrong shape.
        """
        lead = self._lead
        if x.shape[:-3] != lead or x.shape[-1] != self.input_size or x.shape[-3] < 1:
            expected = ", ".join([*map(str, lead), "T, B", str(self.input_size)])
            order = ", time before batch as for batch_first=False," if self.batch_first else ""
            raise ShapeError(f"input{order} must have shape ({expected}) with T >= 1; found {tuple(x.shape)}")
        shape = (*lead, self.num_layers * self._directions, x.shape[-2], self.hidden_size)
        if states is None:
            return (self.weight_ih_l0.new_zeros(shape),) * count
        for state in states:
            if state.shape != shape:
                raise ShapeError(f"{self._state_names} must have shape {shape}; found {tuple(state.shape)}")
        return tuple(state.to(self.weight_ih_l0.dtype) for state in states)

    def _check_packed_sequence(self, lengths: Tensor | None) -> None:
        """Raise ShapeError if this is a pack or ``lengths`` are given, since the input is then no PackedSequence."""
        if self.trials is not None:
            raise ShapeError(
                "a PackedSequence has no trial axis, but this module is a pack; pass padded input and `lengths` instead"
            )
        if lengths is not None:
            raise ShapeError("a PackedSequence has lengths already, but `lengths` are given too; leave `lengths` out")

    def _check_converts(self, kind: type[nn.Module]) -> None:
        """Raise PackError if this is a pack, since the torch class ``kind`` holds one trial."""
        if self.trials is not None:
            raise PackError(
                f"torch.nn.{kind.__name__} holds one trial, but this is a pack of {self.trials}; "
                "take one out first with .trial(k)"
            )

    def _repr(self, **options: Any) -> str:
        """Return what ``repr`` shows in brackets: the sizes, shared options, ``options`` and the slots."""
        slots = self.slots[0] if self.trials is None else self.slots
        shared = {"bias": self.bias, "batch_first": self.batch_first, "dropout": self.dropout}
        named = {"num_layers": self.num_layers, **shared, **options, "spectrum": self.spectrum, "trials": self.trials}
        parts = [str(self.input_size), str(self.hidden_size), *(f"{name}={value!r}" for name, value in named.items())]
        return ", ".join([*parts, str(slots)])
