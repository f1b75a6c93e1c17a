"""The backend ``reference``: every reflector applied separately at every step, as the paper writes it.

It is slow and plain, it never calls a fast path, and autograd computes every gradient. Cost: 4 n (m1 + m2) B T flop in
T (m1 + m2) dependent steps, with as many intermediates of size B n kept for backward.
"""

import torch
from torch import Tensor

from spectral.householder import reference as householder
from spectral.recurrence.activation import Activation
from spectral.transition import Transition


def run(z: Tensor, h0: Tensor, transition: Transition, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}) for t = 1..T.

    Args:
        z: The summed inputs, shape (..., T, B, n).
        h0: The state before the first step, shape (..., B, n).
        transition: W as reflectors and singular values.
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (..., n).

    Returns:
        The states, in the shape of z.
    """
    sigma, u, v = transition
    h, states = h0, []
    for z_t in z.unbind(-3):
        product = householder.apply_transposed(v, h)
        product = householder.apply(u, sigma.unsqueeze(-2) * product)
        h = activation(z_t + product, offset)
        states.append(h)
    return torch.stack(states, -3)
