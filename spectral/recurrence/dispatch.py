"""Which way of computing the recurrence runs: the one table and the one rule."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from spectral.errors import OptionError, ShapeError
from spectral.recurrence import dense, reference, torch_loop
from spectral.recurrence.activation import Activation
from spectral.transition import Transition

log = logging.getLogger(__name__)

Backend = Callable[[Tensor, Tensor, Transition, Activation], Tensor]

BACKENDS: dict[str, Backend] = {
    "reference": reference.run,
    "torch_loop": torch_loop.run,
    "dense": dense.run,
}
"""Name -> function. A new backend joins here, and the law suite in tests/spectral takes it from here."""

SMALLEST_FACTORED = 128
"""Below this hidden size one dense product a step costs less than the calls of the factored form."""


def choose(size: int, rank: int) -> str:
    """The backend for hidden size n and rank r = m1 + m2: flop (12 n r against 6 n^2), then measurement."""
    return "torch_loop" if size >= SMALLEST_FACTORED and 4 * rank <= size else "dense"


def check_backend(name: str) -> None:
    """Raises OptionError unless name is 'auto' or in BACKENDS."""
    if name != "auto" and name not in BACKENDS:
        raise OptionError(f"backend must be 'auto' or one of {', '.join(BACKENDS)}; found {name!r}")


def recurrence(
    z: Tensor, h0: Tensor, transition: Transition, activation: Activation, *, backend: str = "auto"
) -> Tensor:
    """All states of h_t = phi(z_t + W h_{t-1}), shape of z.

    z (T, B, n), h0 (B, n), transition without batch; or z (K, T, B, n), h0 (K, B, n), transition with leading
    K. T >= 1; B may be 0. Raises ShapeError, OptionError. Computes in the dtype of the transition, also under
    autocast.
    """
    check_backend(backend)
    _check_shapes(z, h0, transition)
    name = choose(transition.size, transition.rank) if backend == "auto" else backend
    log.debug("recurrence n=%d r=%d z=%s: backend %s", transition.size, transition.rank, tuple(z.shape), name)
    dtype = transition.u.dtype
    with torch.autocast(z.device.type, enabled=False):
        return BACKENDS[name](z.to(dtype), h0.to(dtype), transition, activation)


def _check_shapes(z: Tensor, h0: Tensor, transition: Transition) -> None:
    n, lead = transition.size, transition.sigma.shape[:-1]
    if len(lead) > 1 or z.dim() != 3 + len(lead) or z.shape[:-3] != lead or z.shape[-1] != n:
        wanted = f"({', '.join([*map(str, lead), 'T', 'B', str(n)])})"
        raise ShapeError(f"z must have shape {wanted}; found {tuple(z.shape)}")
    if z.shape[-3] < 1:
        raise ShapeError(f"a sequence must have at least one step; found z of shape {tuple(z.shape)}")
    if h0.shape != (*lead, z.shape[-2], n):
        raise ShapeError(f"h0 must have shape {(*lead, z.shape[-2], n)}; found {tuple(h0.shape)}")
