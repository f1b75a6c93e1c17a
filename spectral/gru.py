"""SpectralGRU: torch.nn.GRU with every gate's recurrent matrix held as reflectors and singular values."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from spectral.gated import GatedRNN
from spectral.pack import Slot
from spectral.recurrent_input import States


class SpectralGRU(GatedRNN):
    """A GRU whose W_hr, W_hz and W_hn are each U diag(sigma) V^T.

    Arguments, packs, ``lengths`` and errors are those of SpectralLSTM, with h in place of (h, c), and ``proj_size``
    must be 0, as in torch. Beside ``bias_l``, of shape (3 n), there is ``bias_hn_l`` (n): torch's b_hn, which the reset
    gate multiplies. The other two parts of torch's bias_hh would do the same as ``bias_l``.
    """

    gates = 3
    mode = "GRU"
    _state_count = 1

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Any, Tensor]:
        """Return the output and h_n, as ``torch.nn.GRU`` does.

        Args:
            input: As in ``torch.nn.GRU``; with a leading axis K in a pack.
            hx: The initial state h_0, (layers * directions, B, n), with a leading K in a pack; None is zeros.
            lengths: How many steps of each padded sequence count, integers in [1, T] of shape (B,) or (K, B). The
                output is zero past them, and h_n is the state after the last step that counts. None is T for all. It
                must be None if the input is a PackedSequence. While torch compiles or exports, the values are not
                checked, and the steps run in a loop that is unrolled.

        Raises:
            ShapeError: If a shape, a dtype or a device does not fit, ``hx`` is no tensor, or if the input is a
                PackedSequence and this is a pack or ``lengths`` are given. Under autocast every real floating-point
                dtype fits.
            RangeError: If a length is not an integer in [1, T].
        """
        output, (h_n,) = self._run(input, hx, lengths)
        return output, h_n

    def to_gru(self) -> nn.GRU:
        """Return a ``torch.nn.GRU`` with the same outputs and copies of the present matrices.

        Raises:
            PackError: If this is a pack.
        """
        return self._converted(nn.GRU)

    def _kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        return torch.gru(*arguments)

    @staticmethod
    def _step(z: Tensor, states: States, recurrent: Sequence[Tensor]) -> States:
        weight_hh, bias_hh = recurrent
        (h,) = states
        input_r, input_z, input_n = z.chunk(3, -1)
        state_r, state_z, state_n = nn.functional.linear(h, weight_hh, bias_hh).chunk(3, -1)
        update = torch.sigmoid(input_z + state_z)
        new = torch.tanh(input_n + torch.sigmoid(input_r + state_r) * state_n)
        return ((1 - update) * new + update * h,)

    def _biases(self, end: str, dtype: torch.dtype) -> list[Tensor]:
        """Return bias_ih and bias_hh; of the latter, only the part of the new gate is not zero."""
        bias, inner = getattr(self, f"bias{end}").to(dtype), getattr(self, f"bias_hn{end}").to(dtype)
        return [bias, torch.cat([inner.new_zeros(*inner.shape[:-1], 2 * self.hidden_size), inner], -1)]

    @property
    def _vectors(self) -> int:
        return super()._vectors + int(self.bias) * self.hidden_size

    def _initial_layer(
        self, layer: int, slot: Slot, init: str, generator: torch.Generator | None
    ) -> dict[str, Tensor | None]:
        values = super()._initial_layer(layer, slot, init, generator)
        inner = self._uniform(self.hidden_size, generator=generator)
        return {**values, "bias_hn": inner if self.bias else None}
