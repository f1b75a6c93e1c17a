"""The Spectral-RNN in plain torch, as someone without this project would write it: literal and dense."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainSpectral(nn.Module, ABC):
    """The net h' = relu(W h + M x + b) with W = U diag(sigma) V^T, and a linear readout of the last state.

    Its parameters are weight (n, I), bias (n), u and v (n, m), raw (n), head_weight (O, n) and head_bias (O).
    """

    def __init__(self, start: Mapping[str, Tensor], margin: float) -> None:
        super().__init__()
        self.weight, self.bias, self.u, self.v, self.raw, self.head_weight, self.head_bias = (
            nn.Parameter(start[name].clone())
            for name in ("weight", "bias", "u", "v", "raw", "head_weight", "head_bias")
        )
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (B, O) for inputs x (B, T, I)."""
        return functional.linear(self.last_state(x), self.head_weight, self.head_bias)

    @abstractmethod
    def last_state(self, x: Tensor) -> Tensor:
        """Return the last state h_T (B, n) for inputs x (B, T, I)."""

    def sigma(self) -> Tensor:
        """Return the singular values (n,), which lie within ``margin`` of 1."""
        return 1 + 2 * self.margin * (torch.sigmoid(self.raw) - 0.5)

    @torch.no_grad()
    def normalise(self) -> None:
        """Scale the reflectors to length 1, which leaves W unchanged and keeps the size of the optimiser's steps."""
        for y in (self.u, self.v):
            y.div_(torch.linalg.vector_norm(y, dim=0))


class Literal(PlainSpectral):
    """The paper's method: every reflector, one after another, at every time step.

    The code is as fast as this method allows: unit reflectors are formed once, and a reflection takes two torch calls.
    """

    def last_state(self, x: Tensor) -> Tensor:
        """Return the last state."""
        z = functional.linear(x, self.weight, self.bias)
        h = z.new_zeros(z.shape[0], z.shape[2])
        return literal_states(z.transpose(0, 1), h, self.sigma(), self.u, self.v)[-1]


def literal_states(z: Tensor, h: Tensor, sigma: Tensor, u: Tensor, v: Tensor) -> list[Tensor]:
    """Return all T states, each (B, n), for inputs z (T, B, n) and the activation relu."""
    us, vs = ((y.tril() / torch.linalg.vector_norm(y.tril(), dim=0)).mT.contiguous().unbind() for y in (u, v))
    states = []
    for z_t in z.unbind():
        for y in vs:
            h = torch.addr(h, h @ y, y, alpha=-2)
        h = h * sigma
        for y in reversed(us):
            h = torch.addr(h, h @ y, y, alpha=-2)
        h = torch.relu(h + z_t)
        states.append(h)
    return states


class Dense(PlainSpectral):
    """torch's own orthogonal matrices: W is formed once per training step, and torch's own recurrence runs with it.

    It does not use torch.nn.utils.parametrize, since torch.nn.RNN keeps a list of its weights and would not see W.
    """

    def last_state(self, x: Tensor) -> Tensor:
        """Return the last state."""
        w = (orthogonal(self.u) * self.sigma()) @ orthogonal(self.v).mT
        weights = [self.weight, w, self.bias, torch.zeros_like(self.bias)]
        h0 = x.new_zeros(1, x.shape[0], w.shape[0])
        # arguments: has biases, layers, dropout, training, bidirectional, batch first
        _, last = torch.rnn_relu(x, h0, weights, True, 1, 0.0, self.training, False, True)
        return last[0]


def orthogonal(raw: Tensor) -> Tensor:
    """Return the product (n, n) of the reflectors ``raw`` (n, m)."""
    n, m = raw.shape
    y = raw.tril() / raw.diagonal()
    q: Tensor = torch.linalg.householder_product(functional.pad(y, (0, n - m)), 2 / y.square().sum(0))
    return q


NETS: dict[str, type[PlainSpectral]] = {"literal": Literal, "dense": Dense}
