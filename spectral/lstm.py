"""SpectralLSTM: torch.nn.LSTM with every gate's recurrent matrix held as reflectors and singular values."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral.gated import GatedRNN
from spectral.recurrent_input import States


class SpectralLSTM(GatedRNN):
    """An LSTM whose W_hi, W_hf, W_hg and W_ho are each U diag(sigma) V^T.

    Zhang et al. 2018 have this form for the matrix and name the gates of an LSTM as a use of it. Arguments up to
    ``dtype``, shapes and results are those of ``torch.nn.LSTM``. The keyword arguments after it are those of
    SpectralRNN that have to do with W: ``reflectors``, ``margin``, ``sigma``, ``spectrum``, ``init`` and ``generator``.
    Parameters are listed at GatedRNN; there is one bias, (4 n), where torch has two.

    With ``proj_size`` p the matrix of a gate has n rows and p columns. It is then a reduced SVD, U_p diag(sigma) V^T
    with p singular values, so there are up to p reflectors on each side, min(16, p) by default, and ``init`` must be
    ``gaussian``. The projection W_hr is a plain parameter.

    A pack (see ``pack``) holds K trials, which run one after another: the input is (K, T, B, I), or (K, B, T, I) with
    ``batch_first``, and h and c are (K, layers * directions, B, width). Autocast has no effect: everything is computed
    in the dtype of the parameters, or in float32 if that is float16 or bfloat16, and results are in the parameters'
    dtype.

    Raises:
        ArgumentTypeError: If a size is not an int, or a flag is not a bool.
        OptionError: If ``spectrum`` or ``init`` has none of its allowed values.
        RangeError: If a size is below 1, or proj_size, dropout, margin or sigma is out of range.
        ReflectorCountError: If a number of reflectors is not an integer from 0 to ``proj_size``, or else to
            ``hidden_size``, or if ``init`` needs other numbers or a square matrix.
        ShapeError: If ``reflectors`` is neither one number nor two.
    """

    gates = 4
    mode = "LSTM"
    _state_count = 2
    _projects = True

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
            hx: The initial states (h_0, c_0), of shapes (layers * directions, B, n), or for h_0 (layers * directions,
                B, p) with a projection to p; with a leading K in a pack. None is zeros for both.
            lengths: How many steps of each padded sequence count, integers in [1, T] of shape (B,) or (K, B). The
                output is zero past them, and h_n and c_n are the states after the last step that counts. None is T for
                all. It must be None if the input is a PackedSequence. While torch compiles or exports, the values are
                not checked, and the steps run in a loop that is unrolled.

        Raises:
            ShapeError: If a shape, a dtype or a device does not fit, ``hx`` is not a pair, or if the input is a
                PackedSequence and this is a pack or ``lengths`` are given. Under autocast every real floating-point
                dtype fits.
            RangeError: If a length is not an integer in [1, T].
        """
        output, (h_n, c_n) = self._run(input, hx, lengths)
        return output, (h_n, c_n)

    def to_lstm(self) -> nn.LSTM:
        """Return a ``torch.nn.LSTM`` with the same outputs and copies of the present matrices.

        Raises:
            PackError: If this is a pack.
        """
        return self._converted(nn.LSTM, proj_size=self.proj_size)

    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        x, hx, *rest = arguments
        trains = torch.compiler.is_compiling() and torch.is_grad_enabled() and not x.requires_grad
        if trains and x.device.type == "cpu" and isinstance(hx, list):
            # torch cannot compile its oneDNN kernel for an input that needs no gradient, so this one gets one.
            x = x + 0 * rest[0][0].flatten()[0]
        return torch.lstm(x, hx, *rest)

    @staticmethod
    def _step(z: Tensor, states: States, recurrent: Sequence[Tensor]) -> States:
        weight_hh, bias_hh, *projection = recurrent
        h, c = states
        i, f, g, o = (z + nn.functional.linear(h, weight_hh, bias_hh)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return (h @ projection[0].mT if projection else h), c
