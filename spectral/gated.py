"""GatedRNN: the base of SpectralLSTM and SpectralGRU, whose gates each have a spectral recurrent matrix.

W_hh is formed once for a sequence, which costs 2 n^2 (m1 + m2) flop a gate, and torch's own LSTM or GRU runs over it.
With G gates, in torch's order, and a trial axis K: sigma (K, G, n), reflectors (K, G, n, m), dense (K, G n, n).
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from spectral import init
from spectral.errors import ShapeError
from spectral.recurrence.cudnn import contiguous_weights
from spectral.recurrent_module import RecurrentModule, States
from spectral.singular_values import Spectrum
from spectral.svd import parameters_of
from spectral.transition import Transition

Plain = TypeVar("Plain", nn.LSTM, nn.GRU)


class GatedRNN(RecurrentModule):
    """Base of SpectralLSTM and SpectralGRU: a recurrent module with G gates.

    Parameters of layer l: ``weight_ih_l`` (G n, n_i), ``bias_l`` (G n), ``reflectors_u_l`` (G, n, m1),
    ``reflectors_v_l`` (G, n, m2), and, unless the spectrum is ``fixed``, ``singular_l`` (G, n); all of them with a
    leading K in a pack. Arguments and errors are those of SpectralRNN, which has further ones: there is no
    ``nonlinearity``, ``bidirectional``, ``backend``, ``checkpoint_every`` or ``negative_slope`` here.
    """

    gates: ClassVar[int]
    """G, the number of gates."""
    _state_count: ClassVar[int]
    """How many states a layer has: 1 for h, 2 for h and c."""

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
        band: dict[str, Any] = {"margin": margin, "sigma": sigma, "spectrum": spectrum}
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, reflectors=reflectors, **band)
        for layer in range(num_layers):
            self._set_parameters(self._initial_values(layer, start, generator), device, dtype)
        self._set_band()

    def transition(self, layer: int = 0) -> Transition:
        """Return sigma (G, n), u (G, n, m1) and v (G, n, m2) of one layer's gates, with a leading K in a pack.

        ``layer`` counts from 0, the lowest; one that does not exist is an AttributeError.
        """
        raw: Tensor | None = getattr(self, f"singular_l{layer}")
        sigma = self._singular_map(None if raw is None else raw.flatten(-2), self.gates * self.hidden_size)
        sigma = sigma.reshape(*sigma.shape[:-1], self.gates, self.hidden_size)
        return Transition(sigma, getattr(self, f"reflectors_u_l{layer}"), getattr(self, f"reflectors_v_l{layer}"))

    def transitions(self) -> Iterator[Transition]:
        """Return an iterator of ``transition(layer)`` for every layer, the lowest first."""
        return (self.transition(layer) for layer in range(self.num_layers))

    def dense(self, layer: int = 0) -> Tensor:
        """Return W_hh of one layer, the gates' matrices one under another: (G n, n), or (K, G n, n) in a pack."""
        return self.transition(layer).matrix().flatten(-3, -2)

    def singular_values(self) -> Tensor:
        """Return all singular values, (layers * G, n), or (K, layers * G, n) in a pack."""
        return torch.cat([transition.sigma for transition in self.transitions()], dim=-2)

    @torch.no_grad()
    def set_dense(self, w: Tensor, layer: int = 0) -> None:
        """Set the parameters of one layer so that W_hh equals ``w`` (G n, n) up to rounding. Not for packs.

        Raises:
            ShapeError: If ``w`` has another shape, or if this is a pack.
            BandError: If the spectrum does not reach a singular value of a gate's n rows of ``w``.
            ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of a gate's rows.
        """
        n = self.hidden_size
        if self.trials is not None or w.shape != (self.gates * n, n):
            holder = "a single trial" if self.trials is None else f"a pack of {self.trials} trials"
            raise ShapeError(
                f"w must have shape {(self.gates * n, n)}, and the module must be a single trial; "
                f"found shape {tuple(w.shape)} and {holder}"
            )
        blocks = torch.split(w.to(self.weight_ih_l0), n)
        gates = [parameters_of(block, self.slots[0], self.spectrum) for block in blocks]
        u, v = torch.stack([u for u, _, _ in gates]), torch.stack([v for _, v, _ in gates])
        raw = [raw for _, _, raw in gates if raw is not None]
        self._set_matrix(f"_l{layer}", (u, v, torch.stack(raw) if raw else None))

    def free_parameters(self, k: int = 0) -> int:
        """Return the number of free parameters of trial k, without padding and the zeros of the reflectors.

        As in SpectralRNN, a parameter that does not require gradients counts, and so does the last reflector of a full
        set, which is only a sign.
        """
        n = self.hidden_size
        gate = self._free_matrix_parameters(k) + int(self.bias) * n
        return sum(self.gates * (gate + self._input_width(layer) * n) for layer in range(self.num_layers))

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in brackets: sizes, options and slots."""
        return self._repr()

    @abstractmethod
    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        """Call ``torch.lstm`` or ``torch.gru`` with the arguments that it takes.

        Returns:
            The top layer's h after every step, then the last h, and for an LSTM the last c, of every layer.
        """

    def _biases(self, layer: int) -> list[Tensor]:
        """Return bias_ih and bias_hh of one layer, as torch's functions take them; bias_hh is zero."""
        bias: Tensor = getattr(self, f"bias_l{layer}")
        return [bias, torch.zeros_like(bias)]

    def _run(
        self, input: Tensor | PackedSequence, hx: States | None, lengths: Tensor | None
    ) -> tuple[Any, tuple[Tensor, ...]]:
        """Return the output and the last states in the layout of the caller's input; arguments as in ``forward``."""
        like = input.data if isinstance(input, PackedSequence) else input
        # torch's kernels want input, states and weights in one dtype; half precision has no triangular solver anyway.
        with torch.autocast(like.device.type, enabled=False):
            weights = self._weights()
            if isinstance(input, PackedSequence):
                self._check_packed_sequence(lengths)
                rows = input.data.new_empty(1, int(input.batch_sizes[0]), input.data.shape[-1])
                return self._run_sorted(input, self._initial_states(rows, hx, self._state_count), weights)
            x, hx, lengths, unbatched = self._time_major(input, hx, lengths)
            states = self._initial_states(x, hx, self._state_count)
            x = x.to(self.weight_ih_l0.dtype)
            if self.trials is None:
                output, last = self._run_trial(x, states, lengths, weights)
            else:
                output, last = self._run_trials(x, states, lengths, weights, self.trials)
        if unbatched:
            last = tuple(state.squeeze(-2) for state in last)
        return self._caller_layout(output, unbatched), last

    def _run_trials(
        self, x: Tensor, states: States, lengths: Tensor | None, weights: list[Tensor], trials: int
    ) -> tuple[Tensor, States]:
        """Run the trials of a pack one after another: x (K, T, B, I), each state (K, L, B, n)."""
        each_lengths = [None] * trials if lengths is None else lengths.expand(trials, -1).unbind()
        results = [
            self._run_trial(x[k], [state[k] for state in states], each_lengths[k], [weight[k] for weight in weights])
            for k in range(trials)
        ]
        last = zip(*(states for _, states in results), strict=True)
        return torch.stack([output for output, _ in results]), tuple(torch.stack(kind) for kind in last)

    def _run_trial(
        self, x: Tensor, states: Sequence[Tensor], lengths: Tensor | None, weights: list[Tensor]
    ) -> tuple[Tensor, States]:
        """Run one trial: x (T, B, I), each state (L, B, n), lengths (B,) or None."""
        if x.shape[1] == 0:  # torch's kernels refuse an empty batch
            return x.new_zeros(*x.shape[:2], self.hidden_size), tuple(states)
        if lengths is None:
            output, *last = self._call((x, self._as_hx(states)), weights, False)
            return output, tuple(last)
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        packed_output, last_states = self._run_sorted(packed, states, weights)
        return pad_packed_sequence(packed_output, total_length=x.shape[0])[0], last_states

    def _run_sorted(
        self, packed: PackedSequence, states: Sequence[Tensor], weights: list[Tensor]
    ) -> tuple[PackedSequence, States]:
        """Run on sequences sorted by length; states go in and come out in the caller's order."""
        data, sizes, sorted_indices, unsorted_indices = packed
        if sorted_indices is not None:
            states = [state.index_select(-2, sorted_indices) for state in states]
        output, *last = self._call((data, sizes, self._as_hx(states)), weights, None)
        if unsorted_indices is not None:
            last = [state.index_select(-2, unsorted_indices) for state in last]
        return PackedSequence(output, sizes, sorted_indices, unsorted_indices), tuple(last)

    def _call(self, inputs: tuple[Any, ...], weights: list[Tensor], batch_first: bool | None) -> tuple[Tensor, ...]:
        """Call ``_kernel`` with this module's options.

        Args:
            inputs: The first arguments of torch's function: x and the states, or a PackedSequence's data and batch
                sizes and the states.
            weights: What ``_weights`` returns, of one trial.
            batch_first: None for a PackedSequence, for which torch's function has no such argument.
        """
        if inputs[0].is_cuda:
            weights = contiguous_weights(weights)
        dropout = self.dropout if self.training else 0.0
        # cuDNN keeps what backward needs in training mode only.
        train = self.training or torch.is_grad_enabled()
        order = () if batch_first is None else (batch_first,)
        return self._kernel(*inputs, weights, self.bias, self.num_layers, dropout, train, False, *order)

    def _as_hx(self, states: Sequence[Tensor]) -> Any:
        """Return the states as torch's functions take them: one tensor, or a list of two."""
        contiguous = [state.contiguous() for state in states]
        return contiguous if self._state_count > 1 else contiguous[0]

    def _weights(self) -> list[Tensor]:
        """Return weight_ih, W_hh and, with a bias, bias_ih and bias_hh of every layer, in torch's order."""
        weights = []
        for layer in range(self.num_layers):
            weights += [getattr(self, f"weight_ih_l{layer}"), self.dense(layer)]
            weights += self._biases(layer) if self.bias else []
        return weights

    def _initial_values(self, layer: int, start: str, generator: torch.Generator | None) -> dict[str, Tensor | None]:
        """Draw the parameters of one layer, by name; None where the module has no such parameter."""
        n, rows = self.hidden_size, self.gates * self.hidden_size
        weight = self._uniform(rows, self._input_width(layer), generator=generator)
        bias = self._uniform(rows, generator=generator)
        gates = [init.reflectors(start, n, self.slots[0].reflectors, generator=generator) for _ in range(self.gates)]
        singular = self._initial_singular(n)
        return {
            f"weight_ih_l{layer}": weight,
            f"bias_l{layer}": bias if self.bias else None,
            f"reflectors_u_l{layer}": torch.stack([u for u, _ in gates]),
            f"reflectors_v_l{layer}": torch.stack([v for _, v in gates]),
            f"singular_l{layer}": None if singular is None else singular.repeat(self.gates, 1),
        }

    def _to_plain(self, kind: type[Plain]) -> Plain:
        """Return a module of torch's class ``kind`` with the same outputs and copies of the present matrices.

        Raises:
            PackError: If this is a pack.
        """
        self._check_converts(kind)
        sizes = (self.input_size, self.hidden_size, self.num_layers)
        like = self.weight_ih_l0
        plain = kind(*sizes, self.bias, self.batch_first, self.dropout, device=like.device, dtype=like.dtype)
        with torch.no_grad():
            for parameter, weight in zip(plain.parameters(), self._weights(), strict=True):
                parameter.copy_(weight)
        return plain.train(self.training)
