"""The recurrence as the paper writes it: every reflector applied on its own at every step. Slow, plain,
float64-safe.

It calls no fast path and leaves every gradient to autograd. Cost: 4 n (m1 + m2) B T flop in T (m1 + m2)
steps, and as many intermediates of size B n kept for backward.
"""

import torch
from torch import Tensor

from spectral.householder import reference as householder
from spectral.recurrence.activation import Activation
from spectral.transition import Transition


def run(z: Tensor, h0: Tensor, transition: Transition, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """h_t = phi(z_t + W h_{t-1}) for t = 1..T; z (..., T, B, n), h0 (..., B, n); returns all h, (..., T, B,
    n). offset (..., n) is that of modrelu.
    """
    sigma, u, v = transition
    h, states = h0, []
    for z_t in z.unbind(-3):
        carried = householder.apply_transposed(v, h)
        carried = householder.apply(u, sigma.unsqueeze(-2) * carried)
        h = activation(z_t + carried, offset)
        states.append(h)
    return torch.stack(states, -3)
