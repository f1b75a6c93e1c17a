"""What every step of a pack adds to, on the device, and what a report reads of it."""

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

    def start(self, row: int, loss_sum: Tensor) -> None:
        """Begin the records of another trial in a row, with the sum of its losses since its last report."""
        self.loss_sum[row] = loss_sum
        for failure in self[1:]:
            failure[row] = 0


class Readings(NamedTuple):
    """What training has measured of one row, as Python numbers.

    Attributes:
        loss_sum: The sum of the training losses since the row's last report.
        bad_step: The first step whose loss or gradient was not finite; 0 if there was none, and then ``bad_loss`` and
            ``bad_norm`` mean nothing.
        bad_loss: The loss at ``bad_step``.
        bad_norm: The norm of the gradient at ``bad_step``.
        h0_norm: |dL/dh_0|, the norm of the gradient at the first state, at the last probed step.
        hT_norm: |dL/dh_T|, the norm of the gradient at the last state of the top layer, at the last probed step.
        spectrum_distance: The largest distance of a singular value from the centre of its band; None for kinds of
            model without bands.
    """

    loss_sum: float
    bad_step: int
    bad_loss: float
    bad_norm: float
    h0_norm: float
    hT_norm: float
    spectrum_distance: float | None
