"""GatedRNN: the base of SpectralLSTM and SpectralGRU, whose gates each have a spectral recurrent matrix.

W_hh is formed once for a sequence, which costs 2 n^2 (m1 + m2) flop a gate, and torch's own LSTM or GRU runs over it.
With G gates, in torch's order, and a trial axis K: sigma (K, G, n), reflectors (K, G, n, m), dense (K, G n, n).
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from spectral import gated_steps
from spectral.autocast import without_autocast
from spectral.deprecation import renamed_keyword
from spectral.errors import ShapeError
from spectral.householder import wy
from spectral.init import InitName
from spectral.pack import Slot
from spectral.recurrence.cudnn import contiguous_weights
from spectral.recurrent_input import States, caller_layout, read_packed, read_padded
from spectral.recurrent_module import RecurrentModule, suffix
from spectral.singular_values import Spectrum
from spectral.svd import parameters_of
from spectral.transition import Transition


class GatedRNN(RecurrentModule):
    """Base of SpectralLSTM and SpectralGRU: a recurrent module with G gates.

    Parameters of layer l, with the suffix ``_reverse`` for the second direction: ``weight_ih_l`` (G n, n_i), ``bias_l``
    (G n), ``reflectors_u_l`` (G, n, m1), ``reflectors_v_l`` (G, n, m2), and, unless the spectrum is ``fixed``,
    ``singular_l`` (G, n); all of them with a leading K in a pack. With ``proj_size`` p the matrix of a gate has n rows
    and p columns: ``reflectors_v_l`` is (G, p, m2), ``singular_l`` is (G, p), and ``weight_hr_l`` is (p, n).
    """

    _state_count: ClassVar[int]
    """How many states a layer has: 1 for h, 2 for h and c."""

    @renamed_keyword("start", "init")
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
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
        init: InitName = "gaussian",
        generator: torch.Generator | None = None,
    ) -> None:
        options = (bias, batch_first, dropout, bidirectional, proj_size)
        band: dict[str, Any] = {"margin": margin, "sigma": sigma, "spectrum": spectrum}
        super().__init__(input_size, hidden_size, num_layers, *options, reflectors=reflectors, init=init, **band)
        self._create_parameters(generator, device, dtype)

    def transition(self, layer: int = 0, *, reverse: bool = False) -> Transition:
        """Return sigma (G, n), u (G, n, m1) and v (G, n, m2) of the gates of one layer and direction.

        They have a leading K in a pack, and are in the dtype of computation: that of the parameters, or float32 for
        float16 and bfloat16.

        Args:
            layer: From 0, the lowest, to ``num_layers`` - 1; another one is an AttributeError.
            reverse: Whether the second direction is meant; an AttributeError unless the module is bidirectional.

        Raises:
            ShapeError: If the module has a projection, and so matrices that are not square. ``dense`` and
                ``singular_values`` return what these are.
        """
        if self.proj_size:
            raise ShapeError(
                f"a Transition is square, but with proj_size={self.proj_size} the matrix of a gate has "
                f"{self.hidden_size} x {self.proj_size} entries; call dense() or singular_values()"
            )
        return Transition(*self._factors(layer, reverse))

    def dense(self, layer: int = 0, *, reverse: bool = False) -> Tensor:
        """Return W_hh of one layer and direction, the gates' matrices one under another.

        It is in the dtype of the parameters, also under autocast. Arguments are those of ``transition``.

        Returns:
            Shape (G n, n), or (G n, p) with a projection to p; with a leading K in a pack.
        """
        return self._matrix(layer, reverse).to(self.weight_ih_l0.dtype)

    def singular_values(self) -> Tensor:
        """Return all singular values, (layers * directions * G, n), with a leading K in a pack.

        With a projection to p there are p in place of n.
        """
        return torch.cat([self._factors(layer, reverse)[0] for layer, reverse in self._layers_and_directions()], -2)

    @torch.no_grad()
    def set_dense(self, w: Tensor, layer: int = 0, *, reverse: bool = False) -> None:
        """Set the parameters of one layer and direction so that W_hh equals ``w`` up to rounding. Not for packs.

        Args:
            w: Shape (G n, n), or (G n, p) with a projection to p.
            layer: As for ``transition``.
            reverse: As for ``transition``.

        Raises:
            ShapeError: If ``w`` has another shape, or if this is a pack.
            BandError: If the spectrum does not reach a singular value of a gate's n rows of ``w``.
            ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of a gate's rows.
        """
        n = self.hidden_size
        self._check_dense(w, (self.gates * n, self._output_width))
        blocks = torch.split(self._as_given(w), n)
        gates = [parameters_of(block, self.slots[0], self.spectrum) for block in blocks]
        u, v = torch.stack([u for u, _, _ in gates]), torch.stack([v for _, v, _ in gates])
        raw = [raw for _, _, raw in gates if raw is not None]
        self._set_matrix(suffix(layer, reverse), (u, v, torch.stack(raw) if raw else None))

    @abstractmethod
    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        """Call ``torch.lstm`` or ``torch.gru`` with the arguments that it takes.

        Returns:
            The top layer's h after every step, then the last h, and for an LSTM the last c, of every layer.
        """

    @staticmethod
    @abstractmethod
    def _step(z: Tensor, states: States, recurrent: Sequence[Tensor]) -> States:
        """Return the states after one step; see ``gated_steps``."""

    def _factors(self, layer: int, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return sigma (G, k), u (G, n, m1) and v (G, k, m2), with k the width of h, in the dtype of computation."""
        end, dtype, width = suffix(layer, reverse), self._computing_dtype, self._output_width
        raw: Tensor | None = getattr(self, f"singular{end}")
        flat = self._singular_map(None if raw is None else raw.flatten(-2), self.gates * width)
        sigma = flat.reshape(*flat.shape[:-1], self.gates, width)
        return sigma, getattr(self, f"reflectors_u{end}").to(dtype), getattr(self, f"reflectors_v{end}").to(dtype)

    def _matrix(self, layer: int, reverse: bool) -> Tensor:
        """Return W_hh as ``dense`` does, in the dtype of computation."""
        with without_autocast(self.weight_ih_l0.device):
            sigma, u, v = self._factors(layer, reverse)
            if not self.proj_size:
                return Transition(sigma, u, v).matrix().flatten(-3, -2)
            left = wy.dense(u, self.proj_size) * sigma.unsqueeze(-2)
            return (left @ wy.dense(v).mT).flatten(-3, -2)

    def _weights(self, layer: int, reverse: bool) -> list[Tensor]:
        end, dtype = suffix(layer, reverse), self._computing_dtype
        weights = [getattr(self, f"weight_ih{end}").to(dtype), self._matrix(layer, reverse)]
        weights += self._biases(end, dtype) if self.bias else []
        return weights + ([getattr(self, f"weight_hr{end}").to(dtype)] if self.proj_size else [])

    def _biases(self, end: str, dtype: torch.dtype) -> list[Tensor]:
        """Return bias_ih and bias_hh of one layer and direction, as torch's functions take them; bias_hh is zero."""
        bias: Tensor = getattr(self, f"bias{end}").to(dtype)
        return [bias, torch.zeros_like(bias)]

    @property
    def _vectors(self) -> int:
        return (self.gates * int(self.bias) + self.proj_size) * self.hidden_size

    def _run(self, input: Tensor | PackedSequence, hx: Any, lengths: Tensor | None) -> tuple[Any, States]:
        """Return the output and the last states in the layout of the caller's input; arguments as in ``forward``."""
        layout = self._layout
        output: Any
        if isinstance(input, PackedSequence):
            packed, states = read_packed(layout, input, hx, lengths)
            with without_autocast(packed.data.device):
                output, last = self._run_sorted(packed, states, self._all_plain_weights())
            output = PackedSequence(layout.result(output.data), *output[1:])
            return output, tuple(map(layout.result, last))
        x, states, lengths, unbatched = read_padded(layout, input, hx, lengths)
        # torch's kernels want input, states and weights in one dtype.
        with without_autocast(x.device):
            weights = self._all_plain_weights()
            if self.trials is None:
                output, last = self._run_trial(x, states, lengths, weights)
            else:
                output, last = self._run_trials(x, states, lengths, weights, self.trials)
        if unbatched:
            last = tuple(state.squeeze(-2) for state in last)
        return caller_layout(layout, output, unbatched), tuple(map(layout.result, last))

    def _run_trials(
        self, x: Tensor, states: States, lengths: Tensor | None, weights: list[Tensor], trials: int
    ) -> tuple[Tensor, States]:
        """Run the trials of a pack one after another: x (K, T, B, I), each state (K, layers * directions, B, width)."""
        each_lengths = [None] * trials if lengths is None else lengths.expand(trials, -1).unbind()
        results = [
            self._run_trial(
                x[k], tuple(state[k] for state in states), each_lengths[k], [weight[k] for weight in weights]
            )
            for k in range(trials)
        ]
        last = zip(*(states for _, states in results), strict=True)
        return torch.stack([output for output, _ in results]), tuple(torch.stack(kind) for kind in last)

    def _run_trial(
        self, x: Tensor, states: States, lengths: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, States]:
        """Run one trial: x (T, B, I), each state (layers * directions, B, width), lengths (B,) or None."""
        if x.shape[1] == 0:
            return self._empty(x, states, weights)
        if lengths is None or x.is_meta:  # shapes, which are all that a meta tensor has, do not depend on lengths
            output, *last = self._call((x, self._as_hx(states)), weights, False)
            return output, tuple(last)
        if torch.compiler.is_compiling():  # how a PackedSequence is cut depends on data, so it cannot be traced
            layers = gated_steps.layers_of(weights, self.num_layers, self._directions, bias=self.bias)
            dropout = self.dropout if self.training else 0.0
            return gated_steps.run(self._step, x, states, layers, lengths.to(x.device), dropout=dropout)
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        packed_output, last_states = self._run_sorted(packed, states, weights)
        return pad_packed_sequence(packed_output, total_length=x.shape[0])[0], last_states

    def _empty(self, x: Tensor, states: States, weights: list[Tensor]) -> tuple[Tensor, States]:
        """Return the output and the last states of an empty batch, with a graph: every gradient is zero.

        torch's kernels have cases in which they refuse an empty batch.
        """
        zero = x.sum() + sum(tensor.sum() for tensor in (*states, *weights))
        output = x.new_zeros(*x.shape[:2], self._output_width * self._directions)
        return output + zero, tuple(state + zero for state in states)

    def _run_sorted(
        self, packed: PackedSequence, states: States, weights: list[Tensor]
    ) -> tuple[PackedSequence, States]:
        """Run on sequences sorted by length; states go in and come out in the caller's order."""
        data, sizes, sorted_indices, unsorted_indices = packed
        if sorted_indices is not None:
            states = tuple(state.index_select(-2, sorted_indices) for state in states)
        output, *last = self._call((data, sizes, self._as_hx(states)), weights, None)
        if unsorted_indices is not None:
            last = [state.index_select(-2, unsorted_indices) for state in last]
        return PackedSequence(output, sizes, sorted_indices, unsorted_indices), tuple(last)

    def _call(self, inputs: tuple[Any, ...], weights: list[Tensor], batch_first: bool | None) -> tuple[Tensor, ...]:
        """Call ``_kernel`` with this module's options.

        Args:
            inputs: The first arguments of torch's function: x and the states, or a PackedSequence's data and batch
                sizes and the states.
            weights: What ``_all_plain_weights`` returns, of one trial.
            batch_first: None for a PackedSequence, for which torch's function has no such argument.
        """
        if inputs[0].is_cuda:
            weights = contiguous_weights(weights)
        dropout = self.dropout if self.training else 0.0
        # cuDNN keeps what backward needs in training mode only.
        train = self.training or torch.is_grad_enabled()
        order = () if batch_first is None else (batch_first,)
        return self._kernel(*inputs, weights, self.bias, self.num_layers, dropout, train, self.bidirectional, *order)

    def _as_hx(self, states: States) -> Any:
        """Return the states as torch's functions take them: one tensor, or a list of two."""
        contiguous = [state.contiguous() for state in states]
        return contiguous if self._state_count > 1 else contiguous[0]

    def _initial_layer(
        self, layer: int, slot: Slot, init: str, generator: torch.Generator | None
    ) -> dict[str, Tensor | None]:
        n, rows = self.hidden_size, self.gates * self.hidden_size
        weight = self._uniform(rows, self._input_width(layer), generator=generator)
        bias = self._uniform(rows, generator=generator)
        gates = [self._initial_reflectors(slot, init, generator) for _ in range(self.gates)]
        singular = self._raw_at_centre(slot)
        values: dict[str, Tensor | None] = {
            "weight_ih": weight,
            "bias": bias if self.bias else None,
            "reflectors_u": torch.stack([u for u, _ in gates]),
            "reflectors_v": torch.stack([v for _, v in gates]),
            "singular": None if singular is None else singular.repeat(self.gates, 1),
        }
        if self.proj_size:
            values["weight_hr"] = self._uniform(self.proj_size, n, generator=generator)
        return values
