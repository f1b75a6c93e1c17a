"""The base of the recurrent modules: options, parameters of every layer and direction, and what is read from them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from spectral import singular_values
from spectral.autocast import HALVES, without_autocast
from spectral.errors import PackError, ReflectorCountError, ShapeError
from spectral.init import InitName, gaussian
from spectral.init import reflectors as square_reflectors
from spectral.pack import PackableModule, Slot, reflector_counts
from spectral.recurrent_arguments import check_arguments, check_proj_size
from spectral.recurrent_input import InputLayout
from spectral.singular_values import Spectrum
from spectral.stacking import stack_trials
from spectral.to_step import to_step
from spectral.transition import Transition

Plain = TypeVar("Plain", nn.RNN, nn.LSTM, nn.GRU)

MOST_REFLECTORS = 16
"""The number of reflectors on each side by default, or the size of the matrix if that is smaller."""


class RecurrentModule(PackableModule, ABC):
    """Base of SpectralRNN and GatedRNN: a recurrent module whose recurrent matrices are U diag(sigma) V^T.

    Arguments are those of SpectralRNN and SpectralLSTM.

    Raises:
        ArgumentTypeError: If a size is not an int, or a flag is not a bool.
        OptionError: If ``spectrum`` has none of its values, or ``proj_size`` is given to another module than an LSTM.
        RangeError: If a size is below 1, or proj_size, dropout, margin or sigma is out of range.
        ReflectorCountError: If a number of reflectors is not an integer from 0 to the smaller side of the matrix.
        ShapeError: If ``reflectors`` is neither one number nor two.
    """

    _shared_options: ClassVar[tuple[str, ...]] = (
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "proj_size",
    )
    gates: ClassVar[int] = 1
    """G, the number of gates, each with a recurrent matrix of its own."""
    _projects: ClassVar[bool] = False
    """Whether ``proj_size`` may be given, as for an LSTM."""
    weight_ih_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        *,
        reflectors: int | tuple[int, int] | None,
        margin: float,
        sigma: float,
        spectrum: Spectrum,
        init: InitName,
    ) -> None:
        check_arguments(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)
        check_proj_size(proj_size, hidden_size, allowed=self._projects)
        small = proj_size or hidden_size
        counts = reflector_counts(min(MOST_REFLECTORS, small) if reflectors is None else reflectors)
        slot = Slot(counts, float(margin), float(sigma))
        slot.check(small, spectrum)
        super().__init__(slot, spectrum)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self.inits: tuple[str, ...] = (init,)
        """How the first reflectors of each trial are drawn, also by ``reset_parameters``."""

    @classmethod
    def pack(cls, trials: Sequence[Self]) -> Self:
        """Make one pack of separately built modules; see ``PackableModule.pack``."""
        packed = super().pack(trials)
        packed.inits = tuple(init for trial in trials for init in trial.inits)
        return packed

    def trial(self, k: int) -> Self:
        """Return trial k of a pack as a separate module; see ``PackableModule.trial``."""
        trial = super().trial(k)
        trial.inits = (self.inits[k],)
        return trial

    @property
    @abstractmethod
    def mode(self) -> str:
        """The kind of network, as torch names it: RNN_TANH, RNN_RELU, LSTM or GRU, or RNN_ and another name."""

    @abstractmethod
    def transition(self, layer: int = 0, *, reverse: bool = False) -> Transition:
        """Return the matrix or matrices of one layer and direction."""

    @abstractmethod
    def singular_values(self) -> Tensor:
        """Return the singular values of all recurrent matrices, (matrices, n), or (K, matrices, n) in a pack."""

    def transitions(self) -> Iterator[Transition]:
        """Yield the Transition of every layer and direction, layer by layer, the forward direction first."""
        for layer, reverse in self._layers_and_directions():
            yield self.transition(layer, reverse=reverse)

    def penalty(self) -> Tensor:
        """Return the sum of (sigma_i - sigma*)^2 over all recurrent matrices, shape () or (K,).

        sigma* is the argument ``sigma``. With spectrum='penalty', add a multiple of the sum to the loss.
        """
        return singular_values.penalty(self.singular_values(), self._sigma.unsqueeze(-1)).sum(-1)

    def free_parameters(self, k: int = 0) -> int:
        """Return the number of free parameters of trial k, without padding and the zeros of the reflectors.

        For a SpectralRNN of one layer with a bias this is the paper's count, (n_i + m1 + m2 + 2) n - (m1^2 + m2^2 - m1
        - m2) / 2. It is n less with spectrum='fixed', n less without a bias, and n more with modReLU, for its offset.
        The last reflector of a full set, m1 = n or m2 = n, counts as one number, although it is only a sign and never
        trained. Parameters that do not require gradients count too.
        """
        widths = [self._input_width(layer) for layer, _ in self._layers_and_directions()]
        matrix = self._free_matrix_parameters(k)
        return sum(self.gates * (matrix + width * self.hidden_size) + self._vectors for width in widths)

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters, in one list for each layer and direction, as in torch's modules.

        Their names and number differ from torch's: reflectors and singular values stand in place of ``weight_hh``, and
        there is no ``bias_hh``. ``to_rnn``, ``to_lstm`` and ``to_gru`` return modules with torch's parameters.
        """
        named = dict(self.named_parameters(recurse=False))
        ends = [suffix(layer, reverse) for layer, reverse in self._layers_and_directions()]
        return [[p for name, p in named.items() if name.endswith(end)] for end in ends]

    def flatten_parameters(self) -> None:
        """Do nothing; it is here so that code written for torch's modules runs.

        torch's modules move their weights into one block of memory for cuDNN. Here the weights that cuDNN reads are
        formed anew in every call, and are put into one block then.
        """

    @torch.no_grad()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw all parameters again, in place, as the constructor draws them.

        In a pack the trials are drawn one after another.

        Args:
            generator: The CPU generator that draws; None is torch's default.
        """
        drawn = [self._initial_values(*trial, generator) for trial in zip(self.slots, self.inits, strict=True)]
        for name, value in drawn[0].items():
            if value is not None:
                values = [trial[name] for trial in drawn]
                whole = value if self.trials is None else stack_trials([v for v in values if v is not None])
                getattr(self, name).copy_(whole)

    def _create_parameters(
        self, generator: torch.Generator | None, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Register the parameters of all layers and directions with their first values.

        As in torch's modules, a device of None is the default device.
        """
        device = torch.get_default_device() if device is None else device
        self._set_parameters(self._initial_values(self.slots[0], self.inits[0], generator), device, dtype)
        self._set_band()

    def _initial_values(self, slot: Slot, init: str, generator: torch.Generator | None) -> dict[str, Tensor | None]:
        """Draw the parameters of one trial, by name; None where the module has no such parameter."""
        values: dict[str, Tensor | None] = {}
        with torch.device("cpu"):  # whatever the default device is, so that a seed means the same values everywhere
            for layer, reverse in self._layers_and_directions():
                drawn = self._initial_layer(layer, slot, init, generator)
                values |= {f"{name}{suffix(layer, reverse)}": value for name, value in drawn.items()}
        return values

    @abstractmethod
    def _initial_layer(
        self, layer: int, slot: Slot, init: str, generator: torch.Generator | None
    ) -> dict[str, Tensor | None]:
        """Draw the parameters of one layer and direction, by their names without suffix."""

    def _initial_reflectors(self, slot: Slot, init: str, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw the reflectors of one recurrent matrix: u (n, m1), and v (width, m2), where ``width`` is that of h.

        Raises:
            OptionError: If there is no initialisation of the name ``init``.
            ReflectorCountError: If it needs other numbers of reflectors or a square matrix.
        """
        if not self.proj_size:
            return square_reflectors(init, self.hidden_size, slot.reflectors, generator=generator)
        if init != "gaussian":
            raise ReflectorCountError(
                f"init={init!r} needs a square matrix, but with proj_size the recurrent matrices have "
                f"{self.hidden_size} x {self.proj_size} entries. Use init='gaussian', or no proj_size"
            )
        u = gaussian(self.hidden_size, slot.reflectors[0], generator=generator)
        return u, gaussian(self.proj_size, slot.reflectors[1], generator=generator)

    def _uniform(self, *shape: int, generator: torch.Generator | None) -> Tensor:
        """Draw initial values from U(-1/sqrt(n), 1/sqrt(n)) in float64, as torch's recurrent modules do."""
        bound = 1 / math.sqrt(self.hidden_size)
        return torch.empty(shape, dtype=torch.float64, device="cpu").uniform_(-bound, bound, generator=generator)

    def _raw_at_centre(self, slot: Slot) -> Tensor | None:
        """Return raw singular values of one matrix at which all are sigma*; None for spectrum='fixed'."""
        if self.spectrum == "fixed":
            return None
        raw = 0.0 if self.spectrum == "sigmoid" else slot.sigma
        return torch.full((self._output_width,), raw, dtype=torch.float64)

    @property
    def _layout(self) -> InputLayout:
        """What ``forward`` takes."""
        like = self.weight_ih_l0
        widths = {"h_0": self._output_width} | ({"c_0": self.hidden_size} if self.mode == "LSTM" else {})
        return InputLayout(
            lead=() if self.trials is None else (self.trials,),
            batch_first=self.batch_first,
            input_size=self.input_size,
            layers=self.num_layers * self._directions,
            widths=widths,
            device=like.device,
            dtype=like.dtype,
            computing_dtype=self._computing_dtype,
        )

    @property
    def _directions(self) -> int:
        """The number of directions of each layer: 2 if the module is bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def _output_width(self) -> int:
        """The number of features of h in one direction: ``proj_size`` with a projection, else ``hidden_size``."""
        return self.proj_size or self.hidden_size

    def _input_width(self, layer: int) -> int:
        """Return how many features a layer takes as input at each step; layer 0 takes ``input_size``."""
        return self.input_size if layer == 0 else self._output_width * self._directions

    def _layers_and_directions(self) -> Iterator[tuple[int, bool]]:
        """Return (layer, reverse) for all layers and directions, in torch's order."""
        return ((layer, reverse) for layer in range(self.num_layers) for reverse in (False, True)[: self._directions])

    def _free_matrix_parameters(self, k: int) -> int:
        """Return how many numbers of trial k one recurrent matrix has: those of its reflectors and singular values.

        The first j entries of column j of the reflectors are zero and do not count. With spectrum='fixed' there are no
        singular values to count.
        """
        n, width, (m1, m2) = self.hidden_size, self._output_width, self.slots[k].reflectors
        singular = 0 if self.spectrum == "fixed" else width
        return m1 * n - m1 * (m1 - 1) // 2 + m2 * width - m2 * (m2 - 1) // 2 + singular

    def _check_dense(self, w: Tensor, shape: tuple[int, int]) -> None:
        """Raise ShapeError unless ``w`` is real, has a shape, and this is a single trial, as ``set_dense`` needs."""
        if self.trials is not None or w.shape != shape or w.is_complex():
            holder = "a single trial" if self.trials is None else f"a pack of {self.trials} trials"
            raise ShapeError(
                f"w must be real and have shape {shape}, and the module must be a single trial; "
                f"found shape {tuple(w.shape)}, {w.dtype} and {holder}"
            )

    def _as_given(self, w: Tensor) -> Tensor:
        """Return a matrix on this module's device; in half precision if it is, since its rounding counts then."""
        return w.to(self.weight_ih_l0.device, w.dtype if w.dtype in HALVES else self._computing_dtype)

    def _set_matrix(self, end: str, parameters: Sequence[Tensor | None]) -> None:
        """Copy new values into the parameters of one recurrent matrix.

        Args:
            end: The end of the parameters' names, such as ``_l0``.
            parameters: Reflectors u and v and raw singular values, in this order; a None is skipped.
        """
        for name, value in zip(("reflectors_u", "reflectors_v", "singular"), parameters, strict=True):
            if value is not None:
                getattr(self, f"{name}{end}").copy_(value)

    def to_step(self, *, dense: bool | None = None) -> nn.Module:
        """Return a module that computes one time step, for serving: ``output, hx = step(input, hx)``.

        ``input`` is x_t, (B, input_size), and ``output`` is (B, width of h). ``hx`` is h, and for an LSTM (h, c); each
        is (B, layers * width), with the states of all layers side by side, so for one layer as in ``torch.nn.RNNCell``
        and ``LSTMCell``; None is zeros. ``h_n.transpose(0, 1).flatten(1)`` makes it from an h_n of ``forward``.

        The step holds copies of the present matrices as buffers and does not train. It is in evaluation mode, has no
        dropout, and computes in float32 if this module is in half precision. It can be scripted and exported.

        Args:
            dense: True to multiply by W_hh, False to multiply by its factors, diagonal plus low rank. None chooses what
                takes less time for small batches on a CPU: factors if n is large and there are few reflectors.

        Raises:
            ConversionError: If this module is bidirectional, or if ``dense`` is False and it has a projection.
            PackError: If this is a pack.
        """
        return to_step(self, dense)

    def _converted(self, kind: type[Plain], **options: Any) -> Plain:
        """Return a module of torch's class ``kind`` with the same outputs and copies of the present matrices.

        Args:
            kind: The class.
            options: Its arguments beside those that all of torch's recurrent modules have.

        Raises:
            PackError: If this is a pack.
        """
        if self.trials is not None:
            raise PackError(
                f"torch.nn.{kind.__name__} holds one trial, but this is a pack of {self.trials}; "
                "take one out first with .trial(k)"
            )
        like = self.weight_ih_l0
        options |= {"bias": self.bias, "batch_first": self.batch_first, "bidirectional": self.bidirectional}
        sizes = (self.input_size, self.hidden_size, self.num_layers)
        plain = kind(*sizes, **options, device=like.device, dtype=like.dtype)
        plain.dropout = self.dropout  # not as an argument: the user has had the warning about one layer already
        with torch.no_grad(), without_autocast(like.device):
            for parameter, weight in zip(plain.parameters(), self._all_plain_weights(), strict=True):
                parameter.copy_(weight)
        return plain.train(self.training)

    def _all_plain_weights(self) -> list[Tensor]:
        """Return the weights of all layers and directions as torch's functions take them, in torch's order."""
        return [w for layer, reverse in self._layers_and_directions() for w in self._weights(layer, reverse)]

    @abstractmethod
    def _weights(self, layer: int, reverse: bool) -> list[Tensor]:
        """Return the weights of one layer and direction as torch has them, in the dtype of computation.

        They are weight_ih, weight_hh, with a bias bias_ih and bias_hh, and with a projection weight_hr.
        """

    @property
    @abstractmethod
    def _vectors(self) -> int:
        """How many numbers one layer and direction has beside the input weights and the recurrent matrices."""

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in brackets: sizes, options that differ from their defaults, and the slots."""
        shown = {name: value for name, (value, default) in self._options().items() if value != default}
        names = ["reflectors", *(["margin"] if self.spectrum in ("sigmoid", "clip") else [])]
        names += ["sigma"] if any(slot.sigma != 1 for slot in self.slots) else []
        for name in names:
            values = [getattr(slot, name) for slot in self.slots]
            shown[name] = values[0] if self.trials is None else values
        options = [f"{name}={value!r}" for name, value in shown.items()]
        return ", ".join([str(self.input_size), str(self.hidden_size), *options])

    def _options(self) -> Mapping[str, tuple[Any, Any]]:
        """Return the options that ``repr`` shows, in its order: the value of each, and its default."""
        return {
            "proj_size": (self.proj_size, 0),
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "spectrum": (self.spectrum, "sigmoid"),
            "init": (self.inits[0] if self.trials is None else self.inits, "gaussian"),
            "trials": (self.trials, None),
        }


def suffix(layer: int, reverse: bool) -> str:
    """Return the end of the names of a layer's parameters, such as ``_l0_reverse``, as in torch's modules."""
    return f"_l{layer}" + ("_reverse" if reverse else "")
