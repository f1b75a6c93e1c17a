"""The transition and its fast forms are the same matrix."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from spectral import Transition
from spectral.transition import dense, dense_literal, factors
from tests.spectral.agreement import LAW, assert_near, transition, trial_axis


@trial_axis
def test_the_factors_have_derivatives_of_every_kind(lead):
    def run(sigma, u, v):
        return factors(Transition(sigma, u, v))[1:]

    leaves = tuple(transition(5, 2, 5, lead=lead))
    assert torch.autograd.gradcheck(run, leaves, check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@LAW
@given(n=st.integers(1, 24), data=st.data())
def test_the_factors_are_the_transition(n, data):
    m1, m2 = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    matrix = transition(n, m1, m2)
    assert factors(matrix).a.shape == (n, m1 + m2)
    assert_near(dense(matrix), dense_literal(matrix), n * (m1 + m2 + 1))


def test_a_transition_has_its_matrix_and_knows_its_rounding():
    transition = Transition(torch.ones(3, 6), torch.randn(3, 6, 2), torch.randn(3, 6, 6))
    assert_close = torch.testing.assert_close
    assert_close(transition.matrix(), dense(transition))
    error = transition.orthogonality_error()
    assert error.shape == (3,)
    assert 0 < float(error.max()) < 1e-5
