"""Which way of computing the recurrence runs: the one table and the one rule."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from spectral import packed
from spectral.errors import OptionError, ShapeError
from spectral.recurrence import dense, native, reference, torch_loop
from spectral.recurrence.activation import Activation
from spectral.transition import Transition

log = logging.getLogger(__name__)

Backend = Callable[[Tensor, Tensor, Transition, Activation], Tensor]

BACKENDS: dict[str, Backend] = {
    "reference": reference.run,
    "torch_loop": torch_loop.run,
    "dense": dense.run,
    "native": native.run,
    "native_dense": native.run_dense,
}
"""Name -> function. A new backend joins here, and the law suite in tests/spectral takes it from here."""

Layer = Callable[[Tensor, Tensor, Tensor | None, Tensor, Transition, Activation], tuple[Tensor, Tensor]]

LAYERS: dict[str, Layer] = {"native": native.layer, "native_dense": native.layer_dense}
"""Backends that take the input in place of z = M x + b; they give x no gradient."""

SMALLEST_FACTORED = {"native": 48, "torch_loop": 128}
"""Hidden sizes below which one dense product a step costs less than the two of the factored form."""

WIDEST_INPUT = 32
"""Features per step up to which M x is formed inside the time loop; above, one large product before it is faster."""


def choose(size: int, rank: int, *, native: bool = False) -> str:
    """The backend for hidden size n and rank r = m1 + m2: flop (12 n r against 6 n^2), then measurement."""
    if native:
        return "native" if size >= SMALLEST_FACTORED["native"] and 2 * rank <= size else "native_dense"
    return "torch_loop" if size >= SMALLEST_FACTORED["torch_loop"] and 4 * rank <= size else "dense"


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
    _check_shapes(z, transition.size, h0, transition)
    name, dtype = _resolve(backend, z, transition), transition.u.dtype
    with torch.autocast(z.device.type, enabled=False):
        return BACKENDS[name](z.to(dtype), h0.to(dtype), transition, activation)


def layer(
    x: Tensor, weight: Tensor, bias: Tensor | None, h0: Tensor, transition: Transition, activation: Activation,
    *, backend: str = "auto",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """All states and the last one of h_t = phi(M x_t + b + W h_{t-1}): (T, B, n) and (B, n).

    x (T, B, I), weight M (n, I), bias b (n) or None, h0 (B, n), all with a leading K in a pack. Raises ShapeError,
    OptionError. A loss that reads the last state alone is cheaper through the second result.
    """
    _check_shapes(x, weight.shape[-1], h0, transition)
    name, dtype = _resolve(backend, x, transition), transition.u.dtype
    with torch.autocast(x.device.type, enabled=False):
        x, h0 = x.to(dtype), h0.to(dtype)
        if name in LAYERS and x.shape[-1] <= WIDEST_INPUT and not x.requires_grad:
            return LAYERS[name](x, weight, bias, h0, transition, activation)
        z = torch.nn.functional.linear(x, weight, bias) if x.dim() == 3 else packed.linear(x, weight, bias)
        states = BACKENDS[name](z, h0, transition, activation)
    return states, states[..., -1, :, :]


def _resolve(backend: str, like: Tensor, transition: Transition) -> str:
    check_backend(backend)
    built = native.available(like.device, transition.u.dtype)
    if backend.startswith("native") and not built:
        raise OptionError(
            f"backend {backend!r} needs a C++ compiler, the CPU and float32 or float64; found {like.device} and "
            f"{transition.u.dtype}. Use 'auto'"
        )
    name = choose(transition.size, transition.rank, native=built) if backend == "auto" else backend
    log.debug("recurrence n=%d r=%d input=%s: backend %s", transition.size, transition.rank, tuple(like.shape), name)
    return name


def _check_shapes(x: Tensor, features: int, h0: Tensor, transition: Transition) -> None:
    n, lead = transition.size, transition.sigma.shape[:-1]
    if len(lead) > 1 or x.dim() != 3 + len(lead) or x.shape[:-3] != lead or x.shape[-1] != features:
        wanted = f"({', '.join([*map(str, lead), 'T', 'B', str(features)])})"
        raise ShapeError(f"z or x must have shape {wanted}; found {tuple(x.shape)}")
    if x.shape[-3] < 1:
        raise ShapeError(f"a sequence must have at least one step; found shape {tuple(x.shape)}")
    if h0.shape != (*lead, x.shape[-2], n):
        raise ShapeError(f"h0 must have shape {(*lead, x.shape[-2], n)}; found {tuple(h0.shape)}")
