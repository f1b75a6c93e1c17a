"""The entry points: a matrix that is given as it is, and what all of them refuse; see test_recurrence.py too."""

import pytest
import torch

from spectral import Activation, Transition, dense_recurrence, last_state, layer, recurrence
from spectral.errors import RangeError, ShapeError
from spectral.recurrence.activation import NAMES
from tests.spectral.agreement import draw, transition


@pytest.mark.parametrize("pack", [(), (2,)])
@pytest.mark.parametrize("name", NAMES)
def test_a_recurrence_with_a_given_matrix_agrees_with_the_reference(name, pack):
    generator = torch.Generator().manual_seed(3)
    u, v = (torch.randn(*pack, 5, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    given = Transition(torch.ones(*pack, 5, dtype=torch.float64), u, v)
    z, h0 = torch.randn(*pack, 4, 3, 5, generator=generator), torch.randn(*pack, 3, 5, generator=generator)
    activation = Activation(name)
    offset = torch.randn(*pack, 5, dtype=torch.float64, generator=generator) if activation.has_offset else None
    found = dense_recurrence(z, h0, given.matrix(), activation, offset=offset)
    expected = recurrence(z, h0, given, activation, offset=offset, backend="reference")
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


@pytest.mark.parametrize("name", ["x", "h0", "M", "bias"])
def test_tensors_on_another_device_are_refused_by_name(name):
    """Compiled code would read memory that is not there."""
    matrix = Transition(*(t.detach() for t in transition(4, 1, 2)))
    given = {"x": draw(3, 2, 5), "M": draw(4, 5), "bias": draw(4), "h0": draw(2, 4)}  # in the order of arguments
    given[name] = given[name].to("meta")
    with pytest.raises(ShapeError, match=rf"{name} must be on cpu.*found meta"):
        layer(*given.values(), matrix, Activation("tanh"))


def test_a_matrix_on_another_device_is_refused_by_name():
    with pytest.raises(ShapeError, match="z must be on meta"):
        dense_recurrence(
            draw(3, 2, 4), draw(2, 4), torch.eye(4, dtype=torch.float64, device="meta"), Activation("tanh")
        )


@pytest.mark.parametrize("length", [0, 4])
def test_a_length_beyond_the_sequence_is_refused(length):
    matrix = Transition(*(t.detach() for t in transition(4, 1, 2)))
    given = (draw(3, 2, 5), draw(4, 5), None, draw(2, 4), matrix, Activation("tanh"))
    with pytest.raises(RangeError, match=r"\[1, 3\]"):
        last_state(*given, lengths=torch.tensor([1, length]))
