"""The Spectral-RNN in plain torch, as someone without this project would write it: literally, and dense."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainSpectral(nn.Module, ABC):
    """h' = relu(W h + M x + b), W = U diag(sigma) V^T, and a linear readout of the last state.

    start: weight (n, I), bias (n), u and v (n, m), raw (n), head_weight (O, n), head_bias (O).
    """

    def __init__(self, start: Mapping[str, Tensor], margin: float) -> None:
        super().__init__()
        self.weight, self.bias, self.u, self.v, self.raw, self.head_weight, self.head_bias = (
            nn.Parameter(start[name].clone())
            for name in ("weight", "bias", "u", "v", "raw", "head_weight", "head_bias")
        )
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, I) -> (B, O)."""
        return functional.linear(self.last_state(x), self.head_weight, self.head_bias)

    @abstractmethod
    def last_state(self, x: Tensor) -> Tensor:
        """x (B, T, I) -> h_T (B, n)."""

    def sigma(self) -> Tensor:
        """Within margin of 1."""
        return 1 + 2 * self.margin * (torch.sigmoid(self.raw) - 0.5)

    @torch.no_grad()
    def normalise(self) -> None:
        """Reflectors back to length 1: W stays as it is, and the optimiser's steps keep their size."""
        for y in (self.u, self.v):
            y.div_(torch.linalg.vector_norm(y, dim=0))


class Literal(PlainSpectral):
    """The paper's way: every reflector, one after another, at every step.

    As lean as that can be written: unit reflectors formed once, two torch calls for each reflection.
    """

    def last_state(self, x: Tensor) -> Tensor:
        z = functional.linear(x, self.weight, self.bias)
        h = z.new_zeros(z.shape[0], z.shape[2])
        return literal_states(z.transpose(0, 1), h, self.sigma(), self.u, self.v)[-1]


def literal_states(z: Tensor, h: Tensor, sigma: Tensor, u: Tensor, v: Tensor) -> list[Tensor]:
    """All states for z (T, B, n), relu."""
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
    """torch's own way to an orthogonal matrix, W formed once a step, torch's own recurrence over it.

    Not through torch.nn.utils.parametrize: torch.nn.RNN keeps a list of its weights and would not see the made one.
    """

    def last_state(self, x: Tensor) -> Tensor:
        w = (orthogonal(self.u) * self.sigma()) @ orthogonal(self.v).mT
        weights = [self.weight, w, self.bias, torch.zeros_like(self.bias)]
        h0 = x.new_zeros(1, x.shape[0], w.shape[0])
        # biases, layers, dropout, training, both ways, batch first
        _, last = torch.rnn_relu(x, h0, weights, True, 1, 0.0, self.training, False, True)
        return last[0]


def orthogonal(raw: Tensor) -> Tensor:
    """The product of the reflectors raw (n, m), (n, n)."""
    n, m = raw.shape
    y = raw.tril() / raw.diagonal()
    q: Tensor = torch.linalg.householder_product(functional.pad(y, (0, n - m)), 2 / y.square().sum(0))
    return q


NETS: dict[str, type[PlainSpectral]] = {"literal": Literal, "dense": Dense}
