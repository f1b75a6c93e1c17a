"""Switching autocast off where matrices are formed: torch has no triangular solver in half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast is off on a device; an empty one where it is off already or does not exist.

    ``torch.autocast`` itself raises RuntimeError for a device without autocast, such as meta.

    Args:
        device: The device of the tensors that are computed with.
    """
    if autocast_is_on(device):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def autocast_is_on(device: torch.device) -> bool:
    """Return whether autocast is on for a device; False on one that has no autocast, such as meta."""
    return torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
