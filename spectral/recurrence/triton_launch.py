"""The launches of the Triton kernels that run through time; see README.md in this folder."""

import importlib
from typing import Any

from torch import Tensor

from spectral.gpu.device import device_of, power_of_two
from spectral.recurrence.activation import Activation
from spectral.recurrence.triton_device import products
from spectral.recurrence.triton_plans import SMALLEST_SIDE, Plan

SHORT_STEP = 1 << 13
"""Entries of A up to which a program of one row loads what it reads two steps ahead, not one."""


def forward(
    inputs: tuple[Tensor | None, ...],
    states: Tensor | None,
    end: Tensor,
    skinny: Tensor | None,
    activation: Activation,
    plan: Plan,
) -> None:
    """Run forward through time.

    Args:
        inputs: x (T, B, I), h0, sigma, a, c, and weight, bias, offset or None for each; see ``triton._run``.
        states: The array of all states to be filled, (T, B, n), or None.
        end: The array of the last state to be filled, (B, n).
        skinny: The array of h C to be filled, (T, B, r), or None together with ``states``.
        activation: The nonlinearity.
        plan: How the work is divided.
    """
    x, h0, sigma, a, c, weight, bias, offset = (contiguous(tensor) for tensor in inputs)
    features = 0 if weight is None else weight.shape[-1]
    # A kernel does not read an array that is not there, but it needs a valid address for it.
    arrays = [x, h0, sigma, a, c, *(sigma if array is None else array for array in (weight, bias, offset))]
    arrays += [end if states is None else states, end, end if skinny is None else skinny]
    sizes = (x.shape[-3], x.shape[-2], h0.shape[-1], a.shape[-1], features)
    flags = {"FEATURES": features and power_of_two(features), "BIAS": bias is not None, "KEEP": states is not None}
    _launch("forward", plan, arrays, sizes, flags, activation, sigma)


def backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    given: tuple[Tensor, ...],
    results: tuple[Tensor, ...],
    activation: Activation,
    plan: Plan,
) -> None:
    """Run backward through time.

    Args:
        grad: The gradient of all states, (T, B, n), or None.
        grad_last: The gradient of the last state, (B, n), or None.
        given: The states (T, B, n), sigma, a and c, all contiguous.
        results: The arrays to be filled: delta (T, B, n), q = delta A (T, B, r), and the gradient of h0 (B, n).
        activation: The nonlinearity.
        plan: How the work is divided.
    """
    states, sigma, a, _ = given
    arrays = [states if array is None else contiguous(array) for array in (grad, grad_last)]
    sizes = (states.shape[-3], states.shape[-2], states.shape[-1], a.shape[-1])
    flags = {"GRAD": grad is not None, "GRAD_LAST": grad_last is not None}
    _launch("backward", plan, [*arrays, *given, *results], sizes, flags, activation, sigma)


def contiguous(x: Any) -> Any:
    """Return a tensor in contiguous memory, or None for None."""
    return None if x is None else x.contiguous()


def _launch(
    name: str,
    plan: Plan,
    arrays: list[Tensor],
    sizes: tuple[int, ...],
    flags: dict[str, Any],
    activation: Activation,
    sigma: Tensor,
) -> None:
    """Run one kernel over the whole sequence.

    Args:
        name: ``forward`` or ``backward``.
        plan: How the work is divided.
        arrays: The kernel's arrays, in its order; the states or what they come from first.
        sizes: T, B, n, r and what else the kernel takes.
        flags: Which arrays are there.
        activation: The nonlinearity.
        sigma: The singular values (n), or (K, n) in a pack.
    """
    _, batch, size, rank = sizes[:4]
    trials = sigma.shape[0] if sigma.dim() == 2 else 1
    if batch == 0 or trials == 0:
        return
    n, r = power_of_two(size), power_of_two(rank)
    options = products(sigma.dtype).options(arrays[0].dtype)
    if plan.rows == 1:
        file = "triton_kernels"
        ahead = 2 if n * r <= SHORT_STEP else 1
        number = options["NUMBER"]
        options = {"N": n, "R": r, "HELD": plan.held, "CHUNK": plan.held, "AHEAD": ahead, "NUMBER": number}
    else:
        file = "triton_tile_kernels"
        n, r = max(plan.warps * SMALLEST_SIDE, n), max(SMALLEST_SIDE, r)
        options |= {"N": n, "R": r, "ROWS": plan.rows, "GROUPS": plan.warps}
        if flags.get("FEATURES", 0) > 1:
            flags = flags | {"FEATURES": max(SMALLEST_SIDE, flags["FEATURES"])}
    kernels = importlib.import_module(f"spectral.recurrence.{file}")
    with device_of(sigma):
        getattr(kernels, name)[(-(-batch // plan.rows), trials)](
            *(*arrays, *sizes),
            num_warps=plan.warps,
            ACTIVATION=activation.name,
            SLOPE=activation.slope,
            **flags,
            **options,
        )
