"""Checks of what a caller gives to the recurrence. The compiled loop relies on them: it reads memory by these sizes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from spectral.errors import OptionError, RangeError, ShapeError
from spectral.recurrence.activation import Activation
from spectral.recurrence.backends import Cell
from spectral.transition import Transition


def check_checkpoint_every(steps: int | None) -> None:
    """Raise RangeError unless ``steps``, a value of ``checkpoint_every``, is None or at least 1."""
    if steps is not None and steps < 1:
        raise RangeError(f"checkpoint_every must be None or at least 1; found {steps}")


def check_stack(x: Tensor, h0: Tensor, cells: Sequence[Cell], activation: Activation) -> None:
    """Check the arguments of a stack of layers, each of which has a Transition.

    Raises:
        ShapeError: If a shape does not fit the others, a cell's tensor has another dtype than its sigma, the sequence
            has no step, or ``modrelu`` has no offset.
        OptionError: If an offset is given to another nonlinearity than ``modrelu``.
    """
    weight, matrix = cells[0].weight, cells[0].matrix
    assert isinstance(matrix, Transition)
    lead = tuple(matrix.sigma.shape[:-1])
    _check_input(x, lead, matrix.size if weight is None else weight.shape[-1])
    if h0.shape != (*lead, len(cells), x.shape[-2], matrix.size):
        found = tuple(h0.shape) if len(cells) > 1 else (*h0.shape[:-3], *h0.shape[-2:])
        layers = (len(cells),) if len(cells) > 1 else ()
        raise ShapeError(f"h0 must have shape {(*lead, *layers, x.shape[-2], matrix.size)}; found {found}")
    _check_devices(matrix.sigma.device, {"z or x": x, "h0": h0})
    width = x.shape[-1]
    for cell in cells:
        assert isinstance(cell.matrix, Transition)
        check_offset(cell.offset, tuple(cell.matrix.sigma.shape), activation)
        _check_cell(cell, cell.matrix, width)
        width = cell.matrix.size


def check_matrix(z: Tensor, h0: Tensor, matrix: Tensor) -> None:
    """Raise ShapeError unless the shapes of z, h0 and a matrix W, given as a tensor, fit together."""
    lead, n = tuple(matrix.shape[:-2]), matrix.shape[-1]
    if matrix.dim() not in (2, 3) or matrix.shape[-2] != n:
        raise ShapeError(f"the matrix must have shape (n, n) or (K, n, n); found {tuple(matrix.shape)}")
    _check_input(z, lead, n)
    if h0.shape != (*lead, z.shape[-2], n):
        raise ShapeError(f"h0 must have shape {(*lead, z.shape[-2], n)}; found {tuple(h0.shape)}")
    _check_devices(matrix.device, {"z": z, "h0": h0})


def check_offset(offset: Tensor | None, shape: tuple[int, ...], activation: Activation) -> None:
    """Check the offset of modReLU. Its dtype is not checked here.

    Raises:
        ShapeError: If the nonlinearity is modReLU and the offset is None or has another shape than ``shape``.
        OptionError: If the nonlinearity is another one and the offset is not None.
    """
    if activation.has_offset and (offset is None or offset.shape != shape):
        found = None if offset is None else tuple(offset.shape)
        raise ShapeError(f"modrelu needs an offset of shape {shape}; found {found}")
    if offset is not None and not activation.has_offset:
        raise OptionError(f"nonlinearity {activation.name!r} takes no offset; pass None, or use 'modrelu'")


def _check_devices(device: torch.device, tensors: Mapping[str, Tensor | None]) -> None:
    """Raise ShapeError unless all tensors, named for the message, are on the device of the transition."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.device != device:
            raise ShapeError(f"{name} must be on {device}, where the transition is; found {tensor.device}")


def _check_input(x: Tensor, lead: tuple[int, ...], features: int) -> None:
    """Raise ShapeError unless x has shape (*lead, T, B, features) with T >= 1, and ``lead`` at most one dimension."""
    if len(lead) > 1:
        raise ShapeError(f"the transition may have one leading axis, the trials; its sigma has {len(lead)}: {lead}")
    if x.dim() != 3 + len(lead) or x.shape[:-3] != lead or x.shape[-1] != features:
        expected = f"({', '.join([*map(str, lead), 'T', 'B', str(features)])})"
        raise ShapeError(f"z or x must have shape {expected}; found {tuple(x.shape)}")
    if x.shape[-3] < 1:
        raise ShapeError(f"a sequence must have at least one step; found T = 0, z or x of shape {tuple(x.shape)}")


def _check_cell(cell: Cell, transition: Transition, width: int) -> None:
    """Raise ShapeError unless every tensor of a cell fits the shape and the dtype of sigma.

    ``width`` is the number of features that enter the layer.
    """
    row = transition.sigma.shape
    u, v = transition.u, transition.v
    expected_shapes = {
        "M": (cell.weight, (*row, width)),
        "bias": (cell.bias, row),
        "offset": (cell.offset, row),
        "u": (u, (*row, u.shape[-1])),
        "v": (v, (*row, v.shape[-1])),
    }
    for name, (tensor, shape) in expected_shapes.items():
        if tensor is not None and tensor.shape != shape:
            raise ShapeError(f"{name} must have shape {tuple(shape)}; found {tuple(tensor.shape)}")
        if tensor is not None and tensor.dtype != transition.sigma.dtype:
            raise ShapeError(f"{name} must have sigma's dtype, {transition.sigma.dtype}; found {tensor.dtype}")
    _check_devices(transition.sigma.device, {name: tensor for name, (tensor, _) in expected_shapes.items()})
