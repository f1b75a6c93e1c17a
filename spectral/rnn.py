"""SpectralRNN: torch.nn.RNN with the recurrent matrix W held as reflectors and singular values."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral import sequences
from spectral.autocast import without_autocast
from spectral.deprecation import renamed_keyword
from spectral.errors import ConversionError
from spectral.init import InitName
from spectral.pack import Slot
from spectral.recurrence import Activation
from spectral.recurrence.backends import Cell
from spectral.recurrence.choice import check_backend
from spectral.recurrence.shapes import check_checkpoint_every
from spectral.recurrence.stack import stack
from spectral.recurrent_input import States, caller_layout, read_packed, read_padded
from spectral.recurrent_module import RecurrentModule, suffix
from spectral.roles import ParameterRole
from spectral.singular_values import Spectrum
from spectral.svd import parameters_of
from spectral.transition import Transition, dense


class SpectralRNN(RecurrentModule):
    """An Elman RNN, h_t = phi(W h_{t-1} + M x_t + b), with W = U diag(sigma) V^T (Zhang et al. 2018).

    Arguments up to ``dtype``, shapes and results are those of ``torch.nn.RNN``.

    Parameters of layer l, with the suffix ``_reverse`` for the second direction: ``weight_ih_l`` (n, n_i); ``bias_l``
    (n), one bias where ``torch.nn.RNN`` has two; ``reflectors_u_l`` (n, m1), ``reflectors_v_l`` (n, m2); ``singular_l``
    (n), unless the spectrum is ``fixed``; and with modReLU its offset b, ``offset_l`` (n). weight_ih and bias start
    from U(-1/sqrt(n), 1/sqrt(n)) as in ``torch.nn.RNN``. The offset starts at 0, where the module is linear and keeps
    gradients best. The first j entries of column j of the reflectors are zero and have zero gradient;
    ``free_parameters`` does not count them.

    With parameters in float16 or bfloat16, W is formed and the recurrence runs in float32, and results are in the
    parameters' dtype.

    A pack (see ``pack``) holds K trials. Every parameter has a leading axis K. The input is (K, T, B, I), or
    (K, B, T, I) with ``batch_first``, and so is the output; h_0 and h_n are (K, layers * directions, B, n). Dropout
    draws from torch's own generator, so trials of a pack get other masks than they would get alone.

    Args:
        input_size, hidden_size, num_layers, bias, batch_first, bidirectional, device, dtype: As in ``torch.nn.RNN``;
            n is ``hidden_size``.
        nonlinearity: tanh or relu, or also leaky_relu, identity, or modrelu: sign(z) relu(|z| + b) with a learned
            offset b for each unit.
        dropout: As in ``torch.nn.RNN``, which also warns if there is only one layer.
        proj_size: Must be 0. It stands here because ``torch.nn.RNN`` takes it in this place.
        reflectors: m for both sides, or (m1, m2), each from 0 to ``hidden_size``. None is min(16, hidden_size).
        margin: r in (0, 1]. Singular values stay in [sigma - r, sigma + r], so that over T steps a state grows by at
            most (sigma + r)^T. r <= 1/T is the default advice. The spectra ``penalty`` and ``fixed`` do not use r.
        sigma: The centre of that band, >= 0, and the value of every singular value at the start.
        spectrum: ``sigmoid`` and ``clip`` keep singular values in the band, ``penalty`` leaves them free, and ``fixed``
            holds them all at sigma; see ``spectral.singular_map``.
        backend: Which code computes the recurrence: 'auto', or a name in ``spectral.BACKENDS``. Whether a named one can
            run on the device, in the dtype and with the nonlinearity is checked only by ``forward``.
        checkpoint_every: S >= 1, for long sequences: only every S-th state is kept for backward, which computes the
            others again; this costs one forward pass more. S near sqrt(T) needs the least memory. None keeps all.
        init: The initial reflectors; see init.py. ``gaussian`` is the paper's and is possible for every m1 and m2.
            With few reflectors W is the identity in all but m1 + m2 dimensions, so gradients of a relu net survive, and
            it mixes units from the first step on. ``identity`` needs m1 = m2; it learned the adding problem (T = 100, n
            = 64, 8 reflectors on each side, relu, Adam) later than ``gaussian``. ``henaff`` and ``cayley`` are for
            nearly full sets of reflectors. The old name of this argument is ``start``.
        negative_slope: The slope of leaky_relu below zero, in (0, 1]; checked also for the other nonlinearities.
        generator: The CPU generator that draws the first values; None is torch's default.

    Raises:
        ArgumentTypeError: If a size is not an int, or a flag is not a bool.
        OptionError: If ``nonlinearity``, ``spectrum``, ``backend`` or ``init`` has none of its allowed values, or
            ``proj_size`` is not 0.
        RangeError: If a size or ``checkpoint_every`` is below 1, or dropout, margin, sigma or slope is out of range.
        ReflectorCountError: If a number of reflectors is not an integer from 0 to ``hidden_size``, or if ``init``
            needs other numbers.
        ShapeError: If ``reflectors`` is neither one number nor two.
    """

    _shared_options = (*RecurrentModule._shared_options, "activation", "backend", "checkpoint_every")
    parameter_roles: ClassVar[Mapping[str, ParameterRole]] = {**RecurrentModule.parameter_roles, "offset": "threshold"}

    @renamed_keyword("start", "init")
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
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reflectors: int | tuple[int, int] | None = None,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
        backend: str = "auto",
        checkpoint_every: int | None = None,
        init: InitName = "gaussian",
        negative_slope: float = 0.01,
        generator: torch.Generator | None = None,
    ) -> None:
        check_backend(backend)
        check_checkpoint_every(checkpoint_every)
        options = (bias, batch_first, dropout, bidirectional, proj_size)
        band: dict[str, Any] = {"margin": margin, "sigma": sigma, "spectrum": spectrum}
        super().__init__(input_size, hidden_size, num_layers, *options, reflectors=reflectors, init=init, **band)
        self.activation = Activation(nonlinearity, negative_slope)
        self.backend, self.checkpoint_every = backend, checkpoint_every
        self._create_parameters(generator, device, dtype)

    @property
    def nonlinearity(self) -> str:
        """The name of the nonlinearity."""
        return self.activation.name

    @property
    def mode(self) -> str:
        """RNN_TANH or RNN_RELU as in ``torch.nn.RNN``, or RNN_ and the name of another nonlinearity."""
        return f"RNN_{self.activation.name.upper()}"

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Return the output and h_n, as ``torch.nn.RNN`` does.

        Args:
            input: As in ``torch.nn.RNN``; with a leading axis K in a pack.
            hx: The initial state h_0, (layers * directions, B, n), with a leading K in a pack; None is zeros.
            lengths: How many steps of each padded sequence count, integers in [1, T] of shape (B,) or (K, B). The
                output is zero past them, and h_n is the state after the last step that counts. None is T for all. It is
                for packs what PackedSequence is for a single trial, and must be None if the input is one.

        Raises:
            ShapeError: If a shape, a dtype or a device does not fit, ``hx`` is no tensor, or if the input is a
                PackedSequence and this is a pack or ``lengths`` are given. Under autocast every real floating-point
                dtype fits.
            RangeError: If a length is not an integer in [1, T].
            OptionError: If the ``backend`` that was asked for by name cannot run here.
        """
        return self._forward(input, hx, lengths, keep_states=True)

    def last_state(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> Tensor:
        """Return h_n alone, the second result of ``forward``; arguments and errors as there.

        With ``checkpoint_every``, one direction and no dropout between layers, this needs memory for T / S + S states h
        of each layer instead of T.
        """
        h_n: Tensor = self._forward(input, hx, lengths, keep_states=False)[1]
        return h_n

    def transition(self, layer: int = 0, *, reverse: bool = False) -> Transition:
        """Return sigma (n), u (n, m1) and v (n, m2) of one layer and direction, with a leading K in a pack.

        They are in the dtype of computation: that of the parameters, or float32 for float16 and bfloat16.

        Args:
            layer: From 0, the lowest, to ``num_layers`` - 1; another one is an AttributeError.
            reverse: Whether the second direction is meant; an AttributeError unless the module is bidirectional.
        """
        end, dtype = suffix(layer, reverse), self._computing_dtype
        sigma = self._singular_map(getattr(self, f"singular{end}"), self.hidden_size)
        u, v = getattr(self, f"reflectors_u{end}"), getattr(self, f"reflectors_v{end}")
        return Transition(sigma, u.to(dtype), v.to(dtype))

    def dense(self, layer: int = 0, *, reverse: bool = False) -> Tensor:
        """Return W of one layer and direction, (n, n), or (K, n, n) in a pack; arguments as for ``transition``.

        It is in the dtype of the parameters, also under autocast.
        """
        with without_autocast(self.weight_ih_l0.device):
            return self.transition(layer, reverse=reverse).matrix().to(self.weight_ih_l0.dtype)

    def singular_values(self) -> Tensor:
        """Return all singular values, (layers * directions, n), or (K, layers * directions, n) in a pack."""
        return torch.stack([transition.sigma for transition in self.transitions()], dim=-2)

    @torch.no_grad()
    def set_dense(self, w: Tensor, layer: int = 0, *, reverse: bool = False) -> None:
        """Set the parameters of one layer and direction so that W equals ``w`` (n, n) up to rounding. Not for packs.

        Raises:
            ShapeError: If ``w`` has another shape, or if this is a pack.
            BandError: If the spectrum does not reach a singular value of ``w``.
            ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of ``w``.
        """
        self._check_dense(w, (self.hidden_size, self.hidden_size))
        w = self._as_given(w)
        self._set_matrix(suffix(layer, reverse), parameters_of(w, self.slots[0], self.spectrum))

    def to_rnn(self) -> nn.RNN:
        """Return a ``torch.nn.RNN`` with the same outputs, whose ``weight_hh`` is a copy of the present W.

        Raises:
            ConversionError: If the nonlinearity is neither tanh nor relu.
            PackError: If this is a pack.
        """
        if self.activation.name not in ("tanh", "relu"):
            raise ConversionError(f"torch.nn.RNN has only tanh and relu; this module uses {self.activation.name!r}")
        return self._converted(nn.RNN, nonlinearity=self.activation.name)

    @property
    def _vectors(self) -> int:
        return (int(self.bias) + int(self.activation.has_offset)) * self.hidden_size

    def _weights(self, layer: int, reverse: bool) -> list[Tensor]:
        cell = self._cell(layer, reverse)
        assert cell.weight is not None
        biases = [] if cell.bias is None else [cell.bias, torch.zeros_like(cell.bias)]
        return [cell.weight, dense(cell.matrix), *biases]

    def _options(self) -> Mapping[str, tuple[Any, Any]]:
        slope = (self.activation.slope, 0.01 if self.activation.name == "leaky_relu" else self.activation.slope)
        own = {"nonlinearity": (self.activation.name, "tanh"), "negative_slope": slope}
        run = {"backend": (self.backend, "auto"), "checkpoint_every": (self.checkpoint_every, None)}
        return {**own, **super()._options(), **run}

    def _forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None, lengths: Tensor | None, *, keep_states: bool
    ) -> tuple[Any, Tensor]:
        """Return the output, or None without ``keep_states``, and h_n, in the layout of the caller's input."""
        layout = self._layout
        if isinstance(input, PackedSequence):
            packed, states = read_packed(layout, input, hx, lengths)
            return self._forward_packed_sequence(packed, states, keep_states)
        x, states, lengths, unbatched = read_padded(layout, input, hx, lengths)
        lengths = None if lengths is None else lengths.to(x.device)
        output, h_n = self._run(x, states, lengths, keep_states)
        h_n = h_n.squeeze(-2) if unbatched else h_n
        return None if output is None else caller_layout(layout, output, unbatched), layout.result(h_n)

    def _forward_packed_sequence(
        self, input: PackedSequence, states: States, keep_states: bool
    ) -> tuple[PackedSequence | None, Tensor]:
        """Run on the padded sequences in their sorted order, and put the results back into the caller's order."""
        x, lengths = sequences.pad(input)
        if input.sorted_indices is not None:
            states = tuple(state.index_select(-2, input.sorted_indices) for state in states)
        output, h_n = self._run(x, states, lengths, keep_states)
        if input.unsorted_indices is not None:
            h_n = h_n.index_select(-2, input.unsorted_indices)
        result = self._layout.result
        return None if output is None else sequences.unpad(result(output), input), result(h_n)

    def _run(
        self, x: Tensor, states: States, lengths: Tensor | None, keep_states: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Run all layers and directions over a time-major input.

        Args:
            x: Shape (..., T, B, I).
            states: h_0, shape (..., layers * directions, B, n), in a tuple.
            lengths: How many steps of each sequence count, shape (B,) or (K, B); None is all.
            keep_states: Whether to return the output.

        Returns:
            The output, shape (..., T, B, directions * n), zero past the lengths, or None without ``keep_states``; and
            h_n, in the shape of h_0.
        """
        (h0,) = states
        valid = None if lengths is None else sequences.mask(lengths, x.shape[-3])
        x = sequences.masked(x, valid)  # what stands past an end is not computed with, not even in backward
        lengths = None if lengths is None else lengths.expand(*x.shape[:-3], x.shape[-2])
        # With checkpoints, all layers run a segment together, so that no layer's states are ever whole. Layers of two
        # directions, and dropout between layers, need the whole output of the layer below.
        if self.checkpoint_every is not None and not self.bidirectional and not self._uses_dropout:
            cells = [self._cell(layer, False) for layer in range(self.num_layers)]
            output, h_n = self._stack(x, h0, cells, lengths, keep_states)
            return None if output is None else sequences.masked(output, valid), h_n
        last_states: list[Tensor] = []
        for layer in range(self.num_layers):
            top = layer + 1 == self.num_layers
            outputs: list[Any] = []
            for reverse in (False, True)[: self._directions]:
                output, last = self._run_direction(x, h0, layer, reverse, lengths, keep_states or not top)
                outputs.append(output)
                last_states.append(last)
            if top and not keep_states:
                return None, _joined(last_states)
            x = sequences.masked(torch.cat(outputs, -1) if self.bidirectional else outputs[0], valid)
            if self._uses_dropout and not top:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, _joined(last_states)

    def _run_direction(
        self, x: Tensor, h0: Tensor, layer: int, reverse: bool, lengths: Tensor | None, keep_states: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Return all states of one layer and direction, or None without ``keep_states``, and its last state.

        For the reverse direction each sequence runs backwards within its length, and the states are put back into the
        order of x. h0 holds the initial states of all layers and directions.
        """
        x = sequences.reverse(x, lengths) if reverse else x
        index = layer * self._directions + reverse
        h = h0[..., index : index + 1, :, :]
        states, last = self._stack(x, h, [self._cell(layer, reverse)], lengths, keep_states)
        return (sequences.reverse(states, lengths) if reverse and states is not None else states), last

    def _stack(
        self, x: Tensor, h0: Tensor, cells: list[Cell], lengths: Tensor | None, keep_states: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Call ``stack`` with this module's activation, backend and ``checkpoint_every``."""
        return stack(
            x,
            h0,
            cells,
            self.activation,
            lengths=lengths,
            backend=self.backend,
            checkpoint_every=self.checkpoint_every,
            keep_states=keep_states,
        )

    def _cell(self, layer: int, reverse: bool) -> Cell:
        """Return M, b, W and modReLU's offset of one layer and direction as a Cell, in the dtype of computation."""
        end, dtype = suffix(layer, reverse), self._computing_dtype
        bias: Tensor | None = getattr(self, f"bias{end}")
        offset: Tensor | None = getattr(self, f"offset{end}") if self.activation.has_offset else None
        return Cell(
            getattr(self, f"weight_ih{end}").to(dtype),
            None if bias is None else bias.to(dtype),
            self.transition(layer, reverse=reverse),
            None if offset is None else offset.to(dtype),
        )

    def _initial_layer(
        self, layer: int, slot: Slot, init: str, generator: torch.Generator | None
    ) -> dict[str, Tensor | None]:
        n = self.hidden_size
        weight = self._uniform(n, self._input_width(layer), generator=generator)
        bias = self._uniform(n, generator=generator)
        u, v = self._initial_reflectors(slot, init, generator)
        values: dict[str, Tensor | None] = {
            "weight_ih": weight,
            "bias": bias if self.bias else None,
            "reflectors_u": u,
            "reflectors_v": v,
            "singular": self._raw_at_centre(slot),
        }
        if self.activation.has_offset:
            values["offset"] = torch.zeros(n, dtype=torch.float64)
        return values

    @property
    def _uses_dropout(self) -> bool:
        """Whether dropout is applied between layers: in training mode, with dropout > 0 and two layers or more."""
        return self.training and self.dropout > 0 and self.num_layers > 1


def _joined(last_states: list[Tensor]) -> Tensor:
    """Return the last states of all layers and directions as one tensor; a single one is not copied again."""
    return last_states[0] if len(last_states) == 1 else torch.cat(last_states, -3)
