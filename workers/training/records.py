"""What every step of a pack adds to, on the device; a report reads it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class StepRecords(NamedTuple):
    """Sums and failures of the K trials of a pack, each of shape (K,). Steps change them in place.

    Attributes:
        loss_sum: The sum of the training losses since the trial's last report, float64.
        bad_step: The first step whose loss or gradient was not finite, int64; 0 if there was none.
        bad_loss: The loss at ``bad_step``, float64.
        bad_norm: The norm of the gradient at ``bad_step``, float64.
    """

    loss_sum: Tensor
    bad_step: Tensor
    bad_loss: Tensor
    bad_norm: Tensor
