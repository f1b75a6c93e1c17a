"""The map of singular values and its gradient, and the unit length of reflectors: one launch each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from spectral.autocast import computing_dtype
from spectral.gpu import device as gpu

BLOCK = 256
"""Singular values of a program."""

ROWS, COLUMNS = 64, 16
"""The part of an array of reflectors that a program reads at a time."""

MOST_ARRAYS = 8
"""Arrays of reflectors that are normalised in one launch."""


def singular_map(
    raw: Tensor, centre: Tensor, low: Tensor, high: Tensor, width: Tensor, start: Tensor, share: Tensor, kind: str
) -> Tensor:
    """Return the singular values of raw ones, shape (..., size).

    Args:
        raw: The raw values, shape (..., size).
        centre: This and the following ones are the fields of a ``Band``, all of shape (1) or all of shape (..., 1).
        low: As above.
        high: As above.
        width: As above.
        start: As above.
        share: As above.
        kind: ``sigmoid`` or ``clip``.
    """
    values = raw.new_empty(raw.shape)
    band = [x.contiguous() for x in (centre, low, high, width, start, share)]
    _launch("singular_map", [raw.contiguous(), *band, values], raw, low, kind)
    return values


def singular_map_backward(grad: Tensor, raw: Tensor, low: Tensor, high: Tensor, width: Tensor, kind: str) -> Tensor:
    """Return the gradient of raw singular values from that of the mapped ones, shape (..., size)."""
    result = raw.new_empty(raw.shape)
    _launch("singular_map_backward", [*(x.contiguous() for x in (grad, raw, low, high, width)), result], raw, low, kind)
    return result


def _launch(name: str, tensors: list[Tensor], raw: Tensor, band: Tensor, kind: str) -> None:
    """Start a kernel over all raw values."""
    size = raw.shape[-1]
    if not raw.numel():
        return
    block = min(BLOCK, gpu.power_of_two(size))
    grid = (raw.numel() // size, -(-size // block))
    gpu.launch(f"columns_kernels.{name}", grid, raw, [*tensors, size, int(band.numel() > 1)], KIND=kind, BLOCK=block)


def normalize_(raws: Sequence[Tensor]) -> None:
    """Scale every column of arrays of reflectors, each of shape (..., n, m), to length 1, in place.

    Args:
        raws: Contiguous arrays of one dtype on one device.
    """
    filled = [raw for raw in raws if raw.numel()]
    for first in range(0, len(filled), MOST_ARRAYS):
        part = filled[first : first + MOST_ARRAYS]
        sizes = [(raw.numel() // (raw.shape[-2] * raw.shape[-1]), raw.shape[-2], raw.shape[-1]) for raw in part]
        grid = (max(trials * -(-m // COLUMNS) for trials, _, m in sizes), len(part))
        number = gpu.number(computing_dtype(part[0].dtype))
        options = {"COUNT": len(part), "ROWS": ROWS, "COLUMNS": COLUMNS, "NUMBER": number}
        gpu.launch("columns_kernels.normalize", grid, part[0], [tuple(part), tuple(sizes)], **options)


def normalizes(raw: Tensor) -> bool:
    """Return whether ``normalize_`` takes an array: a contiguous one on a device where the kernels run."""
    return gpu.runs(raw.device, computing_dtype(raw.dtype)) and raw.is_contiguous() and raw.layout == torch.strided
