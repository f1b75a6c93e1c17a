"""SpectralLSTM: torch.nn.LSTM with every gate's recurrent matrix held as reflectors and singular values."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral.gated import GatedRNN


class SpectralLSTM(GatedRNN):
    """An LSTM whose W_hi, W_hf, W_hg and W_ho are each U diag(sigma) V^T.

    Zhang et al. 2018 have this form for the matrix and name the gates of an LSTM as a use of it. Arguments up to
    ``dtype``, shapes and results are those of ``torch.nn.LSTM``, without directions and projections. Keyword arguments
    are those of SpectralRNN. Parameters are listed at GatedRNN; there is one bias, (4 n), where torch has two.

    A pack (see ``pack``) holds K trials, which run one after another: the input is (K, T, B, I), or (K, B, T, I) with
    ``batch_first``, and h and c are (K, layers, B, n). Autocast has no effect: everything is computed in the dtype of
    the parameters.

    Raises:
        OptionError: If an option has a value that is not in its table.
        RangeError: If a number is out of range; ReflectorCountError for a number of reflectors.
    """

    gates = 4
    _state_count = 2
    _state_names = "h_0 and c_0"

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Tensor | None = None,
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Return the output and (h_n, c_n), as ``torch.nn.LSTM`` does.

        Args:
            input: As in ``torch.nn.LSTM``; with a leading axis K in a pack.
            hx: The initial states h_0 and c_0; None is zeros.
            lengths: How many steps of each padded sequence count, shape (B,) or (K, B), each in [1, T]. The output is
                zero past them, and h_n and c_n are the states after the last step that counts.

        Raises:
            ShapeError: If a shape does not fit.
            RangeError: If a length is out of range.
        """
        output, (h_n, c_n) = self._run(input, hx, lengths)
        return output, (h_n, c_n)

    def to_lstm(self) -> nn.LSTM:
        """Return a plain ``torch.nn.LSTM`` with the same outputs; W_hh is formed. Raise PackError for a pack."""
        return self._to_plain(nn.LSTM)

    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.lstm(*arguments)
