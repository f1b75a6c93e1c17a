"""SpectralLSTM: torch.nn.LSTM with every gate's recurrent matrix held as reflectors and singular values."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral.gated import GatedRNN


class SpectralLSTM(GatedRNN):
    """torch.nn.LSTM whose W_hi, W_hf, W_hg, W_ho are each U diag(sigma) V^T (Zhang et al. 2018, for the matrix; they
    name LSTM gates as a use of it).

    Arguments up to dtype, shapes and results are those of torch.nn.LSTM, without directions and projections;
    keyword-only ones as in SpectralRNN. `lengths` (B,) or (K, B) as there. Parameters: see GatedRNN; one bias, (4 n),
    where torch has two. A pack, see `pack`, holds K trials: x (K, T, B, I), or (K, B, T, I) with batch_first, and h, c
    (K, layers, B, n); its trials run one after another. Computes in the parameters' dtype, also under autocast.

    Raises OptionError, RangeError, ReflectorCountError; forward raises ShapeError, RangeError.
    """

    gates = 4
    _kept = 2

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """output and (h_n, c_n), as torch.nn.LSTM gives them; output is zero past `lengths`, and h_n, c_n are those
        after the last step that counts.
        """
        out, (h_n, c_n) = self._run(input, hx, lengths)
        return out, (h_n, c_n)

    def to_lstm(self) -> nn.LSTM:
        """A plain torch.nn.LSTM with the same outputs; W_hh is formed. Raises PackError."""
        like = self.weight_ih_l0
        return self._fill(
            nn.LSTM(
                self.input_size, self.hidden_size, self.num_layers, self.bias, self.batch_first, self.dropout,
                device=like.device, dtype=like.dtype,
            )
        )  # fmt: skip

    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.lstm(*arguments)
