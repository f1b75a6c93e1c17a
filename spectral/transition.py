"""The transition W = U diag(sigma) V^T, and its two fast forms: diagonal plus low rank, and dense."""

from typing import NamedTuple

import torch
from torch import Tensor

from spectral.householder import reference, wy


class Transition(NamedTuple):
    """The square matrix U diag(sigma) V^T of Zhang et al. 2018. Leading dimensions are batch."""

    sigma: Tensor
    """(..., n), singular values."""
    u: Tensor
    """(..., n, m1), raw reflectors of U = H_n(u_0) H_{n-1}(u_1) ...; column j counts from coordinate j on."""
    v: Tensor
    """(..., n, m2), raw reflectors of V, likewise."""

    @property
    def size(self) -> int:
        """n, the hidden size."""
        return self.sigma.shape[-1]

    @property
    def rank(self) -> int:
        """r = m1 + m2, the rank of W - diag(sigma) at most."""
        return self.u.shape[-1] + self.v.shape[-1]


class Factors(NamedTuple):
    """W = diag(sigma) + a c^T."""

    sigma: Tensor
    a: Tensor
    """(..., n, r)"""
    c: Tensor
    """(..., n, r)"""


def factors(transition: Transition) -> Factors:
    """W as a diagonal plus a matrix of rank r = m1 + m2, exactly. Cost: O(n r^2), one triangular solve for
    each side.

    U = I - Yu Zu and V^T = I - Yv Zv with Zu = Tu Yu^T, Zv = Tv^T Yv^T, so that
    A = [-Yu, Yu (Zu S Yv) - S Yv] and C = [S Zu^T, Zv^T].
    """
    sigma, u, v = transition
    left, right = wy.factor(u), wy.factor(v)
    scaled_zu = left.z() * sigma.unsqueeze(-2)
    a = torch.cat([-left.y, left.y @ (scaled_zu @ right.y) - sigma.unsqueeze(-1) * right.y], dim=-1)
    c = torch.cat([scaled_zu.mT, right.z_transposed().mT], dim=-1)
    return Factors(sigma, a, c)


def dense(transition: Transition) -> Tensor:
    """W itself, shape (..., n, n). Cost: 2 n^2 r flop."""
    sigma, a, c = factors(transition)
    return a @ c.mT + torch.diag_embed(sigma)


def dense_literal(transition: Transition) -> Tensor:
    """W from one reflector after another; for checking, not for use."""
    sigma, u, v = transition
    return (reference.dense(u) * sigma.unsqueeze(-2)) @ reference.dense(v).mT
