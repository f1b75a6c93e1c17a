"""The base of the recurrent modules: sizes, options, and the layout of input and states that they share."""

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
"""h, or h and c: each (layers, B, n), with a leading K in a pack."""


class TimeMajor(NamedTuple):
    """An input with the time before the batch, and the states and lengths that belong to it."""

    x: Tensor
    """Shape (..., T, B, I)."""
    states: States | None
    """Each of shape (..., layers, B, n)."""
    lengths: Tensor | None
    """Shape (B,) or (K, B)."""
    unbatched: bool
    """Whether the caller's input has no batch dimension; B is then 1."""


class RecurrentModule(PackableModule, ABC):
    """A recurrent module whose recurrent matrices are spectral.

    Args:
        input_size: The number of features of the input.
        hidden_size: n, the number of units of each layer.
        num_layers: The number of layers.
        bias: Whether layers have a bias.
        batch_first: Whether input and output are (B, T, ...) instead of (T, B, ...).
        dropout: The probability of dropout between layers, in [0, 1].
        reflectors: m for both sides, or (m1, m2), each from 0 to ``hidden_size``.
        margin: r in (0, 1]: singular values stay in [sigma - r, sigma + r].
        sigma: The centre of that band, >= 0.
        spectrum: The map that keeps singular values in the band; see singular_values.py.

    Raises:
        OptionError: If there is no such map.
        RangeError: If a number is out of range; ReflectorCountError for a number of reflectors.
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
    """How error messages call the initial states."""
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
        """Return the sum of |sigma - sigma*|^2 over all recurrent matrices, shape () or (K,).

        Add it to the loss with spectrum='penalty'.
        """
        return singular_values.penalty(self.singular_values(), self._sigma.unsqueeze(-1)).sum(-1)

    @property
    def _directions(self) -> int:
        """The number of directions: 2 for a bidirectional module."""
        return 1

    @property
    def _lead(self) -> tuple[int, ...]:
        """The leading dimensions of every tensor: () for a single trial, (K,) for a pack."""
        return () if self.trials is None else (self.trials,)

    def _input_width(self, layer: int) -> int:
        """Return the number of features that enter a layer."""
        return self.input_size if layer == 0 else self.hidden_size * self._directions

    def _uniform(self, *shape: int, generator: torch.Generator | None) -> Tensor:
        """Draw initial values from U(-1/sqrt(n), 1/sqrt(n)) in float64, as torch's recurrent modules do."""
        bound = 1 / math.sqrt(self.hidden_size)
        return torch.empty(shape, dtype=torch.float64).uniform_(-bound, bound, generator=generator)

    def _free_matrix_parameters(self, k: int) -> int:
        """Return how many free numbers of trial k one recurrent matrix has: reflectors and singular values.

        The first j entries of column j of the reflectors are zero and do not count.
        """
        n, (m1, m2) = self.hidden_size, self.slots[k].reflectors
        return (m1 + m2 + int(self.spectrum != "fixed")) * n - (m1 * m1 + m2 * m2 - m1 - m2) // 2

    def _set_matrix(self, suffix: str, parameters: Sequence[Tensor | None]) -> None:
        """Copy reflectors u and v and raw singular values into the parameters with the given suffix."""
        for name, value in zip(("reflectors_u", "reflectors_v", "singular"), parameters, strict=True):
            if value is not None:
                getattr(self, f"{name}{suffix}").copy_(value)

    def _time_major(self, input: Tensor, states: States | None, lengths: Tensor | None) -> TimeMajor:
        """Bring the caller's input into the layout that all computations use.

        Raises:
            ShapeError: If the input or the lengths have the wrong number of dimensions.
            RangeError: If a length is out of range.
        """
        dims = len(self._lead) + 3
        if input.dim() not in (dims - 1, dims):
            raise ShapeError(f"input must have {dims} dimensions, or {dims - 1} unbatched; found {input.dim()}")
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
        """Return a time-major output (..., T, B, H) in the layout of the caller's input."""
        if unbatched:
            return output.squeeze(-2)
        return output.transpose(-2, -3) if self.batch_first else output

    def _initial_states(self, x: Tensor, states: States | None, count: int) -> States:
        """Return the initial states in the dtype of the parameters, ``count`` tensors of zeros if there are none.

        Raises:
            ShapeError: If the time-major x or a state has the wrong shape.
        """
        lead = self._lead
        if x.shape[:-3] != lead or x.shape[-1] != self.input_size or x.shape[-3] < 1:
            expected = ", ".join([*map(str, lead), "B, T" if self.batch_first else "T, B", str(self.input_size)])
            raise ShapeError(f"input must have shape ({expected}) with T >= 1; found {tuple(x.shape)} (time major)")
        shape = (*lead, self.num_layers * self._directions, x.shape[-2], self.hidden_size)
        if states is None:
            return (self.weight_ih_l0.new_zeros(shape),) * count
        for state in states:
            if state.shape != shape:
                raise ShapeError(f"{self._state_names} must have shape {shape}; found {tuple(state.shape)}")
        return tuple(state.to(self.weight_ih_l0.dtype) for state in states)

    def _check_packed_sequence(self, lengths: Tensor | None) -> None:
        """Raise ShapeError unless a PackedSequence can be the input."""
        if self.trials is not None or lengths is not None:
            raise ShapeError(
                "a PackedSequence has lengths already and no trial axis; pass padded input and `lengths` instead"
            )

    def _check_converts(self, kind: type[nn.Module]) -> None:
        """Raise PackError unless this is a single trial, which torch's module can express."""
        if self.trials is not None:
            raise PackError(f"torch.nn.{kind.__name__} holds one trial; take one out first with .trial(k)")

    def _repr(self, **options: Any) -> str:
        """Return sizes and options, for ``repr``."""
        slots = self.slots[0] if self.trials is None else self.slots
        shared = {"bias": self.bias, "batch_first": self.batch_first, "dropout": self.dropout}
        named = {"num_layers": self.num_layers, **shared, **options, "spectrum": self.spectrum, "trials": self.trials}
        parts = [str(self.input_size), str(self.hidden_size), *(f"{name}={value!r}" for name, value in named.items())]
        return ", ".join([*parts, str(slots)])
