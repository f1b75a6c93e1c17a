"""The precision in which matrices are formed and vectors returned, also under autocast and in half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.amp import is_autocast_available

HALVES = (torch.float16, torch.bfloat16)
"""The dtypes of half precision, in which torch has no triangular solver and no singular value decomposition."""


def computing_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which matrices are formed from parameters: their own, but float32 for half precision."""
    return torch.float32 if dtype in HALVES else dtype


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which autocast is off on a device; an empty one where it is off already or does not exist.

    ``torch.autocast`` itself raises RuntimeError for a device without autocast, such as meta.

    Args:
        device: The device of the tensors that are computed with.
    """
    return autocast_switched_off(device) if autocast_is_on(device) else nullcontext()


def autocast_switched_off(device: torch.device) -> AbstractContextManager[object]:
    """Return what ``without_autocast`` does, but one that switches autocast off even if it is off already."""
    return torch.autocast(device.type, enabled=False) if device.type in _WITH_AUTOCAST else nullcontext()


def autocast_is_on(device: torch.device) -> bool:
    """Return whether autocast is on for a device; False on one that has no autocast, such as meta."""
    return device.type in _WITH_AUTOCAST and torch.is_autocast_enabled(device.type)


_WITH_AUTOCAST = tuple(name for name in ("cpu", "cuda", "xpu", "mps", "mtia", "hpu") if is_autocast_available(name))
"""The types of device that have autocast. They are looked up once, since every operator asks for them."""


def result_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Return the dtype that a linear layer with parameters of ``dtype`` returns, as ``torch.nn.Linear`` does.

    Under autocast it is autocast's, but float64 stays float64. Otherwise it is that of the parameters.
    """
    return torch.get_autocast_dtype(device.type) if autocast_is_on(device) and dtype != torch.float64 else dtype
