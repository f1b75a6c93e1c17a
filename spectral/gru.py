"""SpectralGRU: torch.nn.GRU with every gate's recurrent matrix held as reflectors and singular values."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral.gated import GatedRNN


class SpectralGRU(GatedRNN):
    """A GRU whose W_hr, W_hz and W_hn are each U diag(sigma) V^T.

    Arguments, packs, ``lengths`` and errors are those of SpectralLSTM, with h in place of (h, c). Beside ``bias_l``,
    of shape (3 n), there is ``bias_hn_l`` (n): torch's b_hn, which the reset gate multiplies. The other two parts of
    torch's bias_hh would do the same as ``bias_l``.
    """

    gates = 3
    _state_count = 1

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Return the output and h_n, as ``torch.nn.GRU`` does.

        Args:
            input: As in ``torch.nn.GRU``; with a leading axis K in a pack.
            hx: The initial state h_0, (layers, B, n), with a leading K in a pack; None is zeros.
            lengths: How many steps of each padded sequence count, integers in [1, T] of shape (B,) or (K, B). The
                output is zero past them, and h_n is the state after the last step that counts. None is T for all. It
                must be None if the input is a PackedSequence.

        Raises:
            ShapeError: If a shape does not fit, or if the input is a PackedSequence and this is a pack or ``lengths``
                are given.
            RangeError: If a length is not an integer in [1, T].
        """
        output, (h_n,) = self._run(input, None if hx is None else (hx,), lengths)
        return output, h_n

    def free_parameters(self, k: int = 0) -> int:
        """Return the number of free parameters of trial k, as in GatedRNN, with ``bias_hn_l`` of every layer."""
        return super().free_parameters(k) + int(self.bias) * self.num_layers * self.hidden_size

    def to_gru(self) -> nn.GRU:
        """Return a ``torch.nn.GRU`` with the same outputs and copies of the present matrices.

        Raises:
            PackError: If this is a pack.
        """
        return self._to_plain(nn.GRU)

    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.gru(*arguments)

    def _biases(self, layer: int) -> list[Tensor]:
        """Return bias_ih and bias_hh; of the latter, only the part of the new gate is not zero."""
        bias, inner = getattr(self, f"bias_l{layer}"), getattr(self, f"bias_hn_l{layer}")
        return [bias, torch.cat([inner.new_zeros(*inner.shape[:-1], 2 * self.hidden_size), inner], -1)]

    def _initial_values(self, layer: int, start: str, generator: torch.Generator | None) -> dict[str, Tensor | None]:
        """Draw the parameters of one layer, by name; None where the module has no such parameter."""
        values = super()._initial_values(layer, start, generator)
        inner = self._uniform(self.hidden_size, generator=generator)
        return {**values, f"bias_hn_l{layer}": inner if self.bias else None}
