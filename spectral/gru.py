"""SpectralGRU: torch.nn.GRU with every gate's recurrent matrix held as reflectors and singular values."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral.gated import GatedRNN


class SpectralGRU(GatedRNN):
    """torch.nn.GRU whose W_hr, W_hz, W_hn are each U diag(sigma) V^T.

    Arguments, packs, `lengths` and errors as SpectralLSTM's, with h alone for (h, c). Beside bias_l (3 n) there is
    bias_hn_l (n), torch's b_hn, which the reset gate multiplies; the other two of bias_hh would do what bias_l does.
    """

    gates = 3
    _kept = 1

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """output and h_n, as torch.nn.GRU gives them; output is zero past `lengths`, and h_n is the state after the
        last step that counts.
        """
        out, (h_n,) = self._run(input, None if hx is None else (hx,), lengths)
        return out, h_n

    def free_parameters(self, k: int = 0) -> int:
        """Numbers that a trial can move."""
        return super().free_parameters(k) + int(self.bias) * self.num_layers * self.hidden_size

    def to_gru(self) -> nn.GRU:
        """A plain torch.nn.GRU with the same outputs; W_hh is formed. Raises PackError."""
        like = self.weight_ih_l0
        return self._fill(
            nn.GRU(
                self.input_size, self.hidden_size, self.num_layers, self.bias, self.batch_first, self.dropout,
                device=like.device, dtype=like.dtype,
            )
        )  # fmt: skip

    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.gru(*arguments)

    def _biases(self, layer: int) -> list[Tensor]:
        bias, inner = getattr(self, f"bias_l{layer}"), getattr(self, f"bias_hn_l{layer}")
        return [bias, torch.cat([inner.new_zeros(*inner.shape[:-1], 2 * self.hidden_size), inner], -1)]

    def _first_values(self, layer: int, start: str, generator: torch.Generator | None) -> dict[str, Tensor | None]:
        values, n = super()._first_values(layer, start, generator), self.hidden_size
        bound = 1 / math.sqrt(n)
        inner = torch.empty(n, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        return {**values, f"bias_hn_l{layer}": inner if self.bias else None}
