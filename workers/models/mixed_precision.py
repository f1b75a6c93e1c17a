"""Find out by trying whether torch can train its recurrent networks in reduced precision on a device.

Where it cannot, they are computed in the dtype of their parameters, which is float32 in mixed precision.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

log = logging.getLogger(__name__)

RECURRENCES: dict[str, Callable[..., Any]] = {
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
    "GRU": torch.gru,
    "LSTM": torch.lstm,
}
"""torch's fused recurrences, by the ``mode`` of a ``torch.nn.RNNBase``."""

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "GRU": 3, "LSTM": 4}


def autocast_for(mode: str, device: torch.device) -> torch.autocast:
    """Return the context in which a recurrence is to be computed.

    It continues the autocast that is active, or switches it off if torch cannot train this recurrence in its dtype.

    Args:
        mode: One of ``RECURRENCES``.
        device: The device of inputs and parameters.
    """
    active = torch.is_autocast_enabled(device.type)
    dtype = torch.get_autocast_dtype(device.type)
    return torch.autocast(device.type, dtype, enabled=active and can_train(mode, device, dtype))


@cache
def can_train(mode: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether torch can train a recurrence under autocast to a dtype.

    The first call tries one forward and backward pass over two steps, and logs a warning if it fails. The result can
    depend on the processor: oneDNN, for example, has a bfloat16 LSTM only for processors with AVX-512.

    Args:
        mode: One of ``RECURRENCES``.
        device: The device on which it is tried.
        dtype: The dtype of autocast.
    """
    gates = _GATES[mode]
    # The first call may come from an evaluation, where gradients are switched off, but has to try a backward pass.
    with torch.inference_mode(False), torch.autocast(device.type, dtype):
        inputs = torch.zeros(1, 2, 1, device=device, requires_grad=True)
        state = torch.zeros(1, 1, 1, device=device)
        shapes = [(gates, 1), (gates, 1), (gates,), (gates,)]
        weights = [torch.zeros(shape, device=device, requires_grad=True) for shape in shapes]
        h0 = (state, state) if mode == "LSTM" else state
        try:
            # The options are: biases, layers, dropout, training, bidirectional, batch_first.
            states, *_ = RECURRENCES[mode](inputs, h0, weights, True, 1, 0.0, True, False, True)
            torch.autograd.grad(states.sum(), [inputs, *weights])
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            log.warning(
                "torch cannot train its %s in %s on %s and computes it in float32 instead (%s)",
                mode,
                dtype,
                device,
                error,
            )
            return False
    return True
