"""SpectralRNN: torch.nn.RNN with the recurrent matrix W held as reflectors and singular values."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral import init, sequences
from spectral.errors import ConversionError, ShapeError
from spectral.recurrence import Activation
from spectral.recurrence.backends import Cell
from spectral.recurrence.choice import check_backend
from spectral.recurrence.shapes import check_checkpoint_every
from spectral.recurrence.stack import stack
from spectral.recurrent_module import RecurrentModule
from spectral.roles import ParameterRole
from spectral.singular_values import Spectrum
from spectral.svd import parameters_of
from spectral.transition import Transition


class SpectralRNN(RecurrentModule):
    """An Elman RNN, h_t = phi(W h_{t-1} + M x_t + b), with W = U diag(sigma) V^T (Zhang et al. 2018).

    Arguments up to ``dtype``, shapes and results are those of ``torch.nn.RNN``.

    Parameters of layer l, with the suffix ``_reverse`` for the second direction: ``weight_ih_l`` (n, n_i); ``bias_l``
    (n), one bias where ``torch.nn.RNN`` has two; ``reflectors_u_l`` (n, m1), ``reflectors_v_l`` (n, m2); ``singular_l``
    (n), unless the spectrum is ``fixed``; and with modReLU its offset b, ``offset_l`` (n). weight_ih and bias start
    from U(-1/sqrt(n), 1/sqrt(n)) as in ``torch.nn.RNN``. The offset starts at 0, where the module is linear and keeps
    gradients best. The first j entries of column j of the reflectors are zero and have zero gradient;
    ``free_parameters`` does not count them.

    A pack (see ``pack``) holds K trials. Every parameter has a leading axis K. The input is (K, T, B, I), or
    (K, B, T, I) with ``batch_first``, and so is the output; h_0 and h_n are (K, layers * directions, B, n). Dropout
    draws from torch's own generator, so trials of a pack get other masks than they would get alone.

    Args:
        input_size: As in ``torch.nn.RNN``.
        hidden_size: As in ``torch.nn.RNN``; n below.
        num_layers: As in ``torch.nn.RNN``.
        nonlinearity: tanh or relu, or also leaky_relu, identity, or modrelu: sign(z) relu(|z| + b) with a learned
            offset b for each unit.
        bias: As in ``torch.nn.RNN``.
        batch_first: As in ``torch.nn.RNN``.
        dropout: As in ``torch.nn.RNN``.
        bidirectional: As in ``torch.nn.RNN``.
        device: As in ``torch.nn.RNN``.
        dtype: As in ``torch.nn.RNN``.
        reflectors: m for both sides, or (m1, m2), each from 0 to ``hidden_size``.
        margin: r in (0, 1]. Singular values stay in [sigma - r, sigma + r], so that over T steps a state grows by at
            most (sigma + r)^T. r <= 1/T is the default advice. The spectra ``penalty`` and ``fixed`` do not use r.
        sigma: The centre of that band, >= 0, and the value of every singular value at the start.
        spectrum: ``sigmoid`` and ``clip`` keep singular values in the band, ``penalty`` leaves them free, and ``fixed``
            holds them all at sigma; see ``spectral.singular_map``.
        backend: Which code computes the recurrence: 'auto', or a name in ``spectral.BACKENDS``. Whether a named one can
            run on the device, in the dtype and with the nonlinearity is checked only by ``forward``.
        checkpoint_every: S >= 1, for long sequences: only every S-th state is kept for backward, which computes the
            others again; this costs one forward pass more. S near sqrt(T) needs the least memory. None keeps all.
        start: The initial reflectors; see init.py. ``gaussian`` is the paper's and is possible for every m1 and m2.
            With few reflectors W is the identity in all but m1 + m2 dimensions, so gradients of a relu net survive, and
            it mixes units from the first step on. ``identity`` needs m1 = m2; it learned the adding problem (T = 100, n
            = 64, 8 reflectors on each side, relu, Adam) later than ``gaussian``. ``henaff`` and ``cayley`` are for
            nearly full sets of reflectors.
        negative_slope: The slope of leaky_relu below zero, in (0, 1]; checked also for the other nonlinearities.
        generator: The CPU generator that draws the first values; None is torch's default.

    Raises:
        OptionError: If ``nonlinearity``, ``spectrum``, ``backend`` or ``start`` has none of its allowed values.
        RangeError: If a size or ``checkpoint_every`` is below 1, or dropout, margin, sigma or slope is out of range.
        ReflectorCountError: If a number of reflectors is not an integer from 0 to ``hidden_size``, or if ``start``
            needs other numbers.
        ShapeError: If ``reflectors`` is neither one number nor two.
    """

    _shared_options = (*RecurrentModule._shared_options, "activation", "bidirectional", "backend", "checkpoint_every")
    parameter_roles: ClassVar[Mapping[str, ParameterRole]] = {**RecurrentModule.parameter_roles, "offset": "threshold"}

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
        check_backend(backend)
        check_checkpoint_every(checkpoint_every)
        band: dict[str, Any] = {"margin": margin, "sigma": sigma, "spectrum": spectrum}
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, reflectors=reflectors, **band)
        self.bidirectional = bidirectional
        self.activation = Activation(nonlinearity, negative_slope)
        self.backend, self.checkpoint_every = backend, checkpoint_every
        for layer, reverse in self._layers_and_directions():
            self._set_parameters(self._initial_values(layer, reverse, start, generator), device, dtype)
        self._set_band()

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
            ShapeError: If a shape does not fit, or if the input is a PackedSequence and this is a pack or ``lengths``
                are given.
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

        Args:
            layer: From 0, the lowest, to ``num_layers`` - 1; another one is an AttributeError.
            reverse: Whether the second direction is meant; an AttributeError unless the module is bidirectional.
        """
        suffix = _suffix(layer, reverse)
        sigma = self._singular_map(getattr(self, f"singular{suffix}"), self.hidden_size)
        return Transition(sigma, getattr(self, f"reflectors_u{suffix}"), getattr(self, f"reflectors_v{suffix}"))

    def transitions(self) -> Iterator[Transition]:
        """Yield the Transition of every layer and direction, layer by layer, the forward direction first."""
        for layer, reverse in self._layers_and_directions():
            yield self.transition(layer, reverse=reverse)

    def dense(self, layer: int = 0, *, reverse: bool = False) -> Tensor:
        """Return W of one layer and direction, (n, n), or (K, n, n) in a pack; arguments as for ``transition``."""
        return self.transition(layer, reverse=reverse).matrix()

    def singular_values(self) -> Tensor:
        """Return all singular values, (layers * directions, n), or (K, layers * directions, n) in a pack."""
        return torch.stack([transition.sigma for transition in self.transitions()], dim=-2)

    def free_parameters(self, k: int = 0) -> int:
        """Return the number of free parameters of trial k, without padding and the zeros of the reflectors.

        For one layer with a bias this is the paper's count, (n_i + m1 + m2 + 2) n - (m1^2 + m2^2 - m1 - m2) / 2. It is
        n less with spectrum='fixed', n less without a bias, and n more with modReLU, for its offset. The last
        reflector of a full set, m1 = n or m2 = n, counts as one number, although it is only a sign and never trained.
        Parameters that do not require gradients count too.
        """
        vectors = (int(self.bias) + int(self.activation.has_offset)) * self.hidden_size
        layers = [self._input_width(layer) * self.hidden_size for layer, _ in self._layers_and_directions()]
        return sum(self._free_matrix_parameters(k) + vectors + inputs for inputs in layers)

    @torch.no_grad()
    def set_dense(self, w: Tensor, layer: int = 0, *, reverse: bool = False) -> None:
        """Set the parameters of one layer and direction so that W equals ``w`` (n, n) up to rounding. Not for packs.

        Raises:
            ShapeError: If ``w`` has another shape, or if this is a pack.
            BandError: If the spectrum does not reach a singular value of ``w``.
            ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of ``w``.
        """
        n = self.hidden_size
        if self.trials is not None or w.shape != (n, n):
            holder = "a single trial" if self.trials is None else f"a pack of {self.trials} trials"
            raise ShapeError(
                f"w must have shape {(n, n)}, and the module must be a single trial; "
                f"found shape {tuple(w.shape)} and {holder}"
            )
        self._set_matrix(_suffix(layer, reverse), parameters_of(w.to(self.weight_ih_l0), self.slots[0], self.spectrum))

    def to_rnn(self) -> nn.RNN:
        """Return a ``torch.nn.RNN`` with the same outputs, whose ``weight_hh`` is a copy of the present W.

        Raises:
            ConversionError: If the nonlinearity is neither tanh nor relu.
            PackError: If this is a pack.
        """
        self._check_converts(nn.RNN)
        if self.activation.name not in ("tanh", "relu"):
            raise ConversionError(f"torch.nn.RNN has only tanh and relu; this module uses {self.activation.name!r}")
        sizes = (self.input_size, self.hidden_size, self.num_layers, self.activation.name)
        options = (self.bias, self.batch_first, self.dropout, self.bidirectional)
        like = self.weight_ih_l0
        rnn = nn.RNN(*sizes, *options, device=like.device, dtype=like.dtype)
        with torch.no_grad():
            for layer, reverse in self._layers_and_directions():
                suffix = _suffix(layer, reverse)
                getattr(rnn, f"weight_ih{suffix}").copy_(getattr(self, f"weight_ih{suffix}"))
                getattr(rnn, f"weight_hh{suffix}").copy_(self.dense(layer, reverse=reverse))
                if self.bias:
                    getattr(rnn, f"bias_ih{suffix}").copy_(getattr(self, f"bias{suffix}"))
                    getattr(rnn, f"bias_hh{suffix}").zero_()
        return rnn.train(self.training)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in brackets: sizes, options and slots."""
        return self._repr(
            nonlinearity=self.activation.name,
            bidirectional=self.bidirectional,
            backend=self.backend,
            checkpoint_every=self.checkpoint_every,
        )

    def _forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None, lengths: Tensor | None, *, keep_states: bool
    ) -> tuple[Any, Tensor]:
        """Return the output, or None without ``keep_states``, and h_n, in the layout of the caller's input."""
        if isinstance(input, PackedSequence):
            return self._forward_packed_sequence(input, hx, lengths, keep_states)
        x, states, lengths, unbatched = self._time_major(input, None if hx is None else (hx,), lengths)
        lengths = None if lengths is None else lengths.to(x.device)
        output, h_n = self._run(x, states, lengths, keep_states)
        h_n = h_n.squeeze(-2) if unbatched else h_n
        return None if output is None else self._caller_layout(output, unbatched), h_n

    def _forward_packed_sequence(
        self, input: PackedSequence, hx: Tensor | None, lengths: Tensor | None, keep_states: bool
    ) -> tuple[PackedSequence | None, Tensor]:
        """Run on the padded sequences in their sorted order, and put the results back into the caller's order."""
        self._check_packed_sequence(lengths)
        x, lengths = sequences.pad(input)
        if hx is not None and input.sorted_indices is not None:
            hx = hx.index_select(-2, input.sorted_indices)
        output, h_n = self._run(x, None if hx is None else (hx,), lengths, keep_states)
        if input.unsorted_indices is not None:
            h_n = h_n.index_select(-2, input.unsorted_indices)
        return None if output is None else sequences.unpad(output, lengths, input), h_n

    def _run(
        self, x: Tensor, states: tuple[Tensor, ...] | None, lengths: Tensor | None, keep_states: bool
    ) -> tuple[Tensor | None, Tensor]:
        """Run all layers and directions over a time-major input.

        Args:
            x: Shape (..., T, B, I).
            states: h_0, shape (..., layers * directions, B, n), in a tuple; or None for zeros.
            lengths: How many steps of each sequence count, shape (B,) or (K, B); None is all.
            keep_states: Whether to return the output.

        Returns:
            The output, shape (..., T, B, directions * n), zero past the lengths, or None without ``keep_states``; and
            h_n, in the shape of h_0.
        """
        (h0,) = self._initial_states(x, states, 1)
        valid = None if lengths is None else sequences.mask(lengths, x.shape[-3])
        lengths = None if lengths is None else lengths.expand(*x.shape[:-3], x.shape[-2])
        # With checkpoints, all layers run a segment together, so that no layer's states are ever whole. Layers of two
        # directions, and dropout between layers, need the whole output of the layer below.
        if self.checkpoint_every is not None and not self.bidirectional and not self._uses_dropout:
            cells = [self._cell(layer, False) for layer in range(self.num_layers)]
            output, h_n = self._stack(x, h0, cells, lengths, keep_states)
            return None if output is None else _masked(output, valid), h_n
        last_states: list[Tensor] = []
        for layer in range(self.num_layers):
            top = layer + 1 == self.num_layers
            outputs: list[Any] = []
            for reverse in (False, True)[: self._directions]:
                output, last = self._run_direction(x, h0, layer, reverse, lengths, keep_states or not top)
                outputs.append(output)
                last_states.append(last)
            if top and not keep_states:
                return None, torch.cat(last_states, -3)
            x = _masked(torch.cat(outputs, -1) if self.bidirectional else outputs[0], valid)
            if self._uses_dropout and not top:
                x = nn.functional.dropout(x, self.dropout, self.training)
        return x, torch.cat(last_states, -3)

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
        """Return M, b, W and modReLU's offset of one layer and direction as a Cell."""
        suffix = _suffix(layer, reverse)
        transition = self.transition(layer, reverse=reverse)
        offset = getattr(self, f"offset{suffix}") if self.activation.has_offset else None
        return Cell(getattr(self, f"weight_ih{suffix}"), getattr(self, f"bias{suffix}"), transition, offset)

    def _initial_values(
        self, layer: int, reverse: bool, start: str, generator: torch.Generator | None
    ) -> dict[str, Tensor | None]:
        """Draw the parameters of one layer and direction, by name; None where the module has no such parameter."""
        n, suffix = self.hidden_size, _suffix(layer, reverse)
        weight = self._uniform(n, self._input_width(layer), generator=generator)
        bias = self._uniform(n, generator=generator)
        u, v = init.reflectors(start, n, self.slots[0].reflectors, generator=generator)
        values: dict[str, Tensor | None] = {
            f"weight_ih{suffix}": weight,
            f"bias{suffix}": bias if self.bias else None,
            f"reflectors_u{suffix}": u,
            f"reflectors_v{suffix}": v,
            f"singular{suffix}": self._initial_singular(n),
        }
        if self.activation.has_offset:
            values[f"offset{suffix}"] = torch.zeros(n, dtype=torch.float64)
        return values

    @property
    def _uses_dropout(self) -> bool:
        """Whether dropout is applied between layers: in training mode, with dropout > 0 and two layers or more."""
        return self.training and self.dropout > 0 and self.num_layers > 1

    @property
    def _directions(self) -> int:
        """The number of directions of each layer: 2 if the module is bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def _layers_and_directions(self) -> Iterator[tuple[int, bool]]:
        """Return (layer, reverse) for all layers and directions, in torch's order."""
        return ((layer, reverse) for layer in range(self.num_layers) for reverse in (False, True)[: self._directions])


def _suffix(layer: int, reverse: bool) -> str:
    """Return the end of the names of a layer's parameters, such as ``_l0_reverse``, as in ``torch.nn.RNN``."""
    return f"_l{layer}" + ("_reverse" if reverse else "")


def _masked(output: Tensor, valid: Tensor | None) -> Tensor:
    """Return the output with zeros where ``valid`` is false; ``valid`` None means that all is valid."""
    return output if valid is None else torch.where(valid, output, torch.zeros_like(output))
