"""The registry of backends, and one layer of a recurrent net as the backends take it."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from spectral.recurrence import cudnn, dense, native, reference, torch_loop, triton, triton_dense
from spectral.recurrence.activation import NAMES, Activation
from spectral.transition import Factors, Matrix, Transition, factors
from spectral.transition import dense as dense_matrix

Backend = Callable[[Tensor, Tensor, Any, Activation, Tensor | None], Tensor]
"""(z, h0, matrix, activation, modReLU's offset or None) -> all states. The matrix comes in the backend's form."""

BACKENDS: dict[str, Backend] = {
    "reference": reference.run,
    "torch_loop": torch_loop.run,
    "dense": dense.run,
    "native": native.run,
    "native_dense": native.run_dense,
    "native_mixed": native.run_mixed,
    "triton": triton.run,
    "triton_dense": triton_dense.run,
    "cudnn": cudnn.run,
}
"""Every backend by its name. A new backend joins here; the law suite in tests/spectral takes its names from here."""

FORMS: dict[str, Callable[[Matrix], Matrix]] = {
    "torch_loop": factors,
    "dense": dense_matrix,
    "native": factors,
    "native_dense": dense_matrix,
    "native_mixed": factors,
    "triton": factors,
    "triton_dense": dense_matrix,
    "cudnn": dense_matrix,
}
"""The form of the transition that a backend takes; a backend that is not listed takes the transition itself.

The form is made once for a sequence, also if the sequence is cut into segments.
"""

LayerFunction = Callable[
    [Tensor, Tensor | None, Tensor | None, Tensor, Matrix, Activation, Tensor | None], tuple[Tensor, Tensor]
]
"""(x, M, b, h0, matrix, activation, offset) -> all states and the last one. Without M, x is M x + b already."""

LAYERS: dict[str, LayerFunction] = {
    "native": native.layer,
    "native_dense": native.layer_dense,
    "triton": triton.layer,
    "triton_dense": triton_dense.layer,
    "native_mixed": native.layer_mixed,
    "cudnn": cudnn.layer,
}
"""Backends that form M x + b themselves, and that return the last state as a result beside all states."""

LAST_STATES: dict[str, Callable[..., Tensor]] = {
    "native": native.last,
    "native_dense": native.last_dense,
    "triton": triton.last,
    "native_mixed": native.last_mixed,
}
"""Backends that can compute the last state without keeping any other. They compute no gradients then."""

ACTIVATIONS: dict[str, tuple[str, ...]] = {"cudnn": cudnn.ACTIVATIONS}
"""The nonlinearities of a backend; a backend that is not listed has all of them."""


def activations_of(backend: str) -> tuple[str, ...]:
    """Return the names of the nonlinearities that a backend has."""
    return ACTIVATIONS.get(backend, NAMES)


class Cell(NamedTuple):
    """One layer in one direction, h' = phi(M x + b + W h). Every tensor has a leading K in a pack."""

    weight: Tensor | None
    """M, shape (n, I); None if x is M x + b already."""
    bias: Tensor | None
    """b, shape (n,), or None."""
    matrix: Matrix
    """W: a Transition as the caller gives it, later the form that the backend takes."""
    offset: Tensor | None = None
    """The offset of modReLU, shape (n,); None for the other nonlinearities."""

    def tensors(self) -> list[Tensor | None]:
        """Return all tensors in one list, from which ``cells_of`` makes the cell again."""
        return [self.weight, self.bias, self.offset, *tensors_of(self.matrix)]


MatrixForm = Callable[..., Transition | Factors | Tensor]
"""The class of a matrix, ``Transition``, ``Factors`` or ``Tensor``, by which ``cells_of`` makes it again."""


def tensors_of(matrix: Matrix) -> tuple[Tensor, ...]:
    """Return the tensors of which a matrix consists: three of them, or W alone."""
    return (matrix,) if isinstance(matrix, Tensor) else tuple(matrix)


def form_of(matrix: Matrix) -> MatrixForm:
    """Return ``Tensor``, ``Transition`` or ``Factors``, whichever class the matrix has."""
    return Tensor if isinstance(matrix, Tensor) else type(matrix)


def cells_of(tensors: Sequence[Tensor | None], forms: Sequence[MatrixForm]) -> list[Cell]:
    """Make cells from the concatenated lists of their tensors.

    Args:
        tensors: ``cell.tensors()`` of every cell, one after another.
        forms: The form of every cell's matrix.
    """
    cells, rest = [], list(tensors)
    for form in forms:
        weight, bias, offset, *rest = rest
        matrix: Any
        if form is Tensor:
            matrix, *rest = rest
        else:
            sigma, left, right, *rest = rest
            matrix = form(sigma, left, right)
        cells.append(Cell(weight, bias, matrix, offset))
    return cells
