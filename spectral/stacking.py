"""The tensors of K trials along a first axis: stacking them, and their norms."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from spectral.cpu import transition as cpu
from spectral.errors import PackError


def stack_trials(tensors: Sequence[Tensor]) -> Tensor:
    """Return one tensor of each trial stacked along a new first axis, the shorter ones padded with zeros at their end.

    Only the last dimension is padded, to the largest size found. This fits every parameter of this package: only
    reflectors differ in size, namely in their number, and a zero column is the identity. It fits whatever has a
    parameter's shape too, such as the moments of an optimiser.

    Args:
        tensors: K tensors that agree in dtype, in device, in their number of dimensions and in all of these but the
            last.

    Returns:
        A tensor of shape (K, ..., largest last dimension), or (K,) for tensors without dimensions.

    Raises:
        PackError: If there are no tensors, or if they differ in dtype, in device, in their number of dimensions or in
            a dimension before the last.
    """
    if not tensors:
        raise PackError("a pack needs at least one trial; found none")
    shapes = {tuple(t.shape) for t in tensors}
    kinds = {(t.dtype, t.device) for t in tensors}
    if len({(len(shape), shape[:-1]) for shape in shapes}) > 1 or len(kinds) > 1:
        raise PackError(
            "trials of a pack must agree in dtype, in device and in shape except for the last dimension; "
            f"found shapes {sorted(shapes)}, and dtypes and devices {kinds}"
        )
    width = max(t.shape[-1] if t.dim() else 0 for t in tensors)
    return torch.stack([nn.functional.pad(t, (0, width - t.shape[-1])) if t.dim() else t for t in tensors])


def norms_of_trials(tensors: Sequence[Tensor]) -> Tensor:
    """Return for each trial the norm of all its numbers in some tensors, such as that of its whole gradient.

    On a CPU, with the compiled code, the bits of a trial's norm are the same in every pack: further zero columns of
    reflectors change nothing.

    Args:
        tensors: At least one tensor, each of shape (K, ...).

    Returns:
        The norms, shape (K,).
    """
    if not cpu.runs(*tensors):
        return torch.stack([tensor.flatten(1).square().sum(1) for tensor in tensors], 1).sum(1).sqrt()
    total = cpu.squares(tensors[0])
    for tensor in tensors[1:]:
        total += cpu.squares(tensor)
    return total.sqrt().to(tensors[0].dtype)


def check_trial(k: int, trials: int | None) -> None:
    """Raise PackError unless 0 <= k < ``trials``, or if ``trials`` is None, which means that the module is no pack."""
    if trials is None:
        raise PackError("this module is a single trial, not a pack, so it has no trial to take out; use it directly")
    if not 0 <= k < trials:
        raise PackError(f"k, the number of a trial in this pack, must be from 0 to {trials - 1}; found {k}")
