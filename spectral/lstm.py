"""SpectralLSTM: torch.nn.LSTM with every gate's recurrent matrix held as reflectors and singular values."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral.gated import GatedRNN


class SpectralLSTM(GatedRNN):
    """An LSTM whose W_hi, W_hf, W_hg and W_ho are each U diag(sigma) V^T.

    Zhang et al. 2018 have this form for the matrix and name the gates of an LSTM as a use of it. Arguments up to
    ``dtype``, shapes and results are those of ``torch.nn.LSTM``, without ``bidirectional`` and ``proj_size``. The
    keyword arguments after it are those of SpectralRNN that have to do with W: ``reflectors``, ``margin``, ``sigma``,
    ``spectrum``, ``start`` and ``generator``. Parameters are listed at GatedRNN; there is one bias, (4 n), where torch
    has two.

    A pack (see ``pack``) holds K trials, which run one after another: the input is (K, T, B, I), or (K, B, T, I) with
    ``batch_first``, and h and c are (K, layers, B, n). Autocast has no effect: everything is computed in the dtype of
    the parameters.

    Raises:
        OptionError: If ``spectrum`` or ``start`` has none of its allowed values.
        RangeError: If a size is below 1, or dropout, margin or sigma is out of range.
        ReflectorCountError: If a number of reflectors is not an integer from 0 to ``hidden_size``, or if ``start``
            needs other numbers.
        ShapeError: If ``reflectors`` is neither one number nor two.
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
            hx: The initial states (h_0, c_0), each (layers, B, n), with a leading K in a pack; None is zeros for both.
            lengths: How many steps of each padded sequence count, integers in [1, T] of shape (B,) or (K, B). The
                output is zero past them, and h_n and c_n are the states after the last step that counts. None is T for
                all. It must be None if the input is a PackedSequence.

        Raises:
            ShapeError: If a shape does not fit, or if the input is a PackedSequence and this is a pack or ``lengths``
                are given.
            RangeError: If a length is not an integer in [1, T].
        """
        output, (h_n, c_n) = self._run(input, hx, lengths)
        return output, (h_n, c_n)

    def to_lstm(self) -> nn.LSTM:
        """Return a ``torch.nn.LSTM`` with the same outputs and copies of the present matrices.

        Raises:
            PackError: If this is a pack.
        """
        return self._to_plain(nn.LSTM)

    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.lstm(*arguments)
