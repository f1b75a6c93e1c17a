"""The entry point for a matrix that is given as it is; the others are in test_recurrence.py."""

import pytest
import torch

from spectral import Activation, Transition, dense_recurrence, recurrence
from spectral.errors import ShapeError
from spectral.recurrence.activation import NAMES


@pytest.mark.parametrize("pack", [(), (2,)])
@pytest.mark.parametrize("name", NAMES)
def test_a_recurrence_with_a_given_matrix_agrees_with_the_reference(name, pack):
    generator = torch.Generator().manual_seed(3)
    u, v = (torch.randn(*pack, 5, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    transition = Transition(torch.ones(*pack, 5, dtype=torch.float64), u, v)
    z, h0 = torch.randn(*pack, 4, 3, 5, generator=generator), torch.randn(*pack, 3, 5, generator=generator)
    activation = Activation(name)
    offset = torch.randn(*pack, 5, dtype=torch.float64, generator=generator) if activation.has_offset else None
    found = dense_recurrence(z, h0, transition.matrix(), activation, offset=offset)
    expected = recurrence(z, h0, transition, activation, offset=offset, backend="reference")
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("z", "h0", "matrix"),
    [
        ((4, 3, 5), (3, 5), (5, 4)),
        ((4, 3, 5), (3, 5), (2, 5, 5)),
        ((0, 3, 5), (3, 5), (5, 5)),
        ((4, 3, 4), (3, 5), (5, 5)),
        ((4, 3, 5), (2, 5), (5, 5)),
    ],
)
def test_a_given_matrix_that_does_not_fit_is_refused(z, h0, matrix):
    with pytest.raises(ShapeError):
        dense_recurrence(torch.zeros(z), torch.zeros(h0), torch.zeros(matrix), Activation("tanh"))


def test_a_given_matrix_decides_the_dtype_of_everything_else():
    generator = torch.Generator().manual_seed(0)
    z, h0, matrix, offset = (torch.randn(size, generator=generator) for size in ((4, 3, 5), (3, 5), (5, 5), (5,)))
    activation = Activation("modrelu")
    exact = dense_recurrence(z.double(), h0.double(), matrix.double(), activation, offset=offset.double())
    mixed = dense_recurrence(z, h0, matrix.double(), activation, offset=offset)
    assert mixed.dtype == torch.float64
    torch.testing.assert_close(mixed, exact, rtol=0, atol=0)
