"""The backend `triton`: the factored recurrence on a GPU, one kernel launch for each direction of time.

The kernels are in persistent_kernel.py, the budget on chip in README.md here. triton is imported on first use.

Precision. float32 products are plain float32 where torch.get_float32_matmul_precision() is "highest", torch's own
default; "high" allows three TF32 products in place of one (error near float32's), "medium" one. That concerns tiles of
16 rows alone: a row by itself is always summed in float32. Under autocast to bfloat16, z and the states are stored as
bfloat16; sigma, A, C, the carried state and every sum stay float32.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectral.autograd import once_differentiable
from spectral.recurrence.activation import Activation
from spectral.recurrence.reductions import product_over_rows, rows, sum_of_signed
from spectral.transition import Matrix, factors

RESIDENT = 1 << 15
"""Numbers in A up to which A and C are read once for the whole sequence. In float32 2^14 leave them in registers, half
of a multiprocessor's; at 2^15 the compiler keeps some 50 of a thread's 128 in its stack, that is in L1."""

READ_AGAIN = 1 << 13
"""Above RESIDENT: numbers of A, and as many of C, that stay; the rest comes from L1 or L2 at every step, so many at
once."""

LARGEST_SIZE, LARGEST_RANK = 1024, 64
"""n and r up to which `backend="auto"` takes this backend."""

ROWS_IN_A_TILE = 16
"""Rows of a matrix product; the least that tensor cores take."""

TILE_BYTES = 20
"""Shared memory that a tile takes at most for each number in A, over float32, TF32 and three-pass TF32: read off
compiled kernels."""

ROWS_APART = 4
"""Rows for each multiprocessor up to which every row is a program of its own: the shortest step while programs are few.
"""

PRECISIONS = {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}


@functools.cache
def installed() -> bool:
    """Whether the package triton is there."""
    return importlib.util.find_spec("triton") is not None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run, None where it can: on CUDA with triton, or anywhere under TRITON_INTERPRET=1."""
    if not installed():
        return "needs the package triton, which is not installed"
    if device.type != "cuda" and not _interpreted():
        return f"needs a CUDA device; found {device}. Elsewhere it runs, slowly, under TRITON_INTERPRET=1 alone"
    if dtype not in (torch.float32, torch.float64):
        return f"needs parameters in float32 or float64; found {dtype}. For bfloat16 states use autocast"
    return None


def fits(size: int, rank: int) -> bool:
    """Whether `auto` takes this backend for n and r on a GPU."""
    return size <= LARGEST_SIZE and rank <= LARGEST_RANK


class TilePlan(NamedTuple):
    """How a problem is cut: rows of a program, n and r padded, columns of A and C that stay on chip, columns read at
    once of those that do not, warps of a program.
    """

    rows: int
    n: int
    r: int
    held: int
    chunk: int
    warps: int


def plan(size: int, rank: int, rows: int, processors: int, shared: int) -> TilePlan:
    """For n, r, `rows` in all (K B), and a device with so many multiprocessors and bytes of shared memory in each."""
    n, r = _power_of_two(size), _power_of_two(rank)
    tile_n, tile_r = max(16, n), max(16, r)
    if rows > ROWS_APART * processors and TILE_BYTES * tile_n * tile_r <= shared:
        return TilePlan(ROWS_IN_A_TILE, tile_n, tile_r, tile_r, tile_r, 8 if tile_n * tile_r > 2048 else 4)
    held = r if n * r <= RESIDENT else min(r, max(1, READ_AGAIN // n))
    # some 32 numbers of A and as many of C in a thread
    return TilePlan(1, n, r, held, held, min(16, max(1, n * r // 1024)))


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """h_t = phi(z_t + sigma h_{t-1} + A (C^T h_{t-1})); shapes as in reference.run. Cost: 12 n r B T flop in all."""
    given = (z, h0, *factors(matrix), offset, activation)
    states: Tensor = PersistentRecurrence.apply(*given)  # type: ignore[no-untyped-call]
    return states


class PersistentRecurrence(torch.autograd.Function):
    """z (T, B, n) or (K, T, B, n); h0 (B, n); sigma (n); a, c (n, r); offset (n) of modrelu; those with K too
    where z has it. z may have another dtype than the rest: it is that of the states.
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, h0: Tensor, sigma: Tensor, a: Tensor, c: Tensor, offset: Tensor | None,
        activation: Activation,
    ) -> Tensor:  # fmt: skip
        states = torch.empty(z.shape, dtype=z.dtype, device=z.device)
        skinny = torch.empty(*z.shape[:-1], a.shape[-1], dtype=z.dtype, device=z.device)
        # without an offset the kernel reads none; it wants an address all the same
        _launch("forward", [z, h0, sigma if offset is None else offset, sigma, a, c], [states, skinny], activation)
        ctx.save_for_backward(states, skinny, h0, sigma, a, c)
        ctx.activation = activation
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        states, skinny, h0, sigma, a, c = ctx.saved_tensors
        delta, q = torch.empty_like(states), torch.empty_like(skinny)
        grad_h0, sums = h0.new_empty(h0.shape), sigma.new_empty(h0.shape)
        _launch("backward", [grad, states, h0, sigma, a, c], [delta, q, grad_h0, sums], ctx.activation)
        grad_offset = sum_of_signed(delta.to(sigma.dtype), states) if ctx.needs_input_grad[5] else None
        if not any(ctx.needs_input_grad[2:5]):
            return delta, grad_h0, None, None, None, grad_offset, None
        start = h0.to(states.dtype)
        grad_a = rows(delta).mT @ rows(skinny)
        grad_c = product_over_rows(start, q[..., 0, :, :], rows(states[..., :-1, :, :]), rows(q[..., 1:, :, :]))
        return delta, grad_h0, sums.sum(-2), grad_a.to(a.dtype), grad_c.to(c.dtype), grad_offset, None


def _launch(name: str, given: list[Tensor], made: list[Tensor], activation: Activation) -> None:
    """One kernel over the whole sequence; `given` ends in sigma, a, c and begins with an array like the states."""
    like, (sigma, a, c) = given[0], given[-3:]
    *lead, steps, batch, n = like.shape
    trials, r = lead[0] if lead else 1, a.shape[-1]
    if batch == 0 or trials == 0:
        return
    cut = plan(n, r, trials * batch, *_device(like.device))
    padding = (0, cut.r - r, 0, cut.n - n)
    laid = [x.contiguous() for x in (*given[:-2], *(torch.nn.functional.pad(x, padding) for x in (a, c)))]
    kernels = importlib.import_module("spectral.recurrence.triton_kernels")
    language = kernels.tl
    number = language.float64 if sigma.dtype == torch.float64 else language.float32
    # Triton's interpreter multiplies the bits of bfloat16 as if they were integers
    halved = like.dtype == torch.bfloat16 and not _interpreted()
    options = {
        "ROWS": cut.rows, "N": cut.n, "R": cut.r, "HELD": cut.held, "CHUNK": cut.chunk,
        "ACTIVATION": activation.name, "SLOPE": activation.slope, "NUMBER": number,
        "PRECISION": PRECISIONS[torch.get_float32_matmul_precision()], "DOT": language.bfloat16 if halved else number,
    }  # fmt: skip
    with torch.cuda.device(like.device) if like.device.type == "cuda" else contextlib.nullcontext():
        kernel = getattr(kernels, name)[(-(-batch // cut.rows), trials)]
        kernel(*laid, *made, steps, batch, n, r, num_warps=cut.warps, **options)


def _power_of_two(size: int) -> int:
    return 1 << max(size - 1, 0).bit_length()


@functools.cache
def _device(device: torch.device) -> tuple[int, int]:
    if device.type != "cuda":  # interpreted: as small as a device can be, so that small problems take every path
        return 1, 1 << 17
    properties = torch.cuda.get_device_properties(device)
    shared: int = getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)
    return properties.multi_processor_count, shared
