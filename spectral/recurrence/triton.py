"""The backend ``triton``: the factored recurrence on a GPU, one kernel launch for each direction of time.

The kernels are in triton_kernels.py. What they keep on the chip is in README.md in this folder. The package triton is
imported on first use.

Products in float32 follow ``torch.get_float32_matmul_precision()``. "highest", torch's default, is plain float32.
"high" uses three TF32 products in place of one, with an error near that of float32. "medium" uses one TF32 product.
This concerns only tiles of 16 rows: a single row is always summed in float32. Under autocast to bfloat16, z and the
states are stored as bfloat16, while sigma, A, C, the carried state and every sum stay in float32.
"""

import contextlib
import functools
import importlib
import importlib.util
import os
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectral.operators import Operator, absent, present
from spectral.recurrence.activation import Activation
from spectral.recurrence.reductions import product_over_rows, rows, sum_of_signed
from spectral.transition import Matrix, factors

RESIDENT = 1 << 15
"""Entries of A up to which A and C are read once for the whole sequence.

In float32, 2^14 entries stay in registers, half of those of a multiprocessor. At 2^15 the compiler keeps about 50 of a
thread's 128 numbers in its stack, that is in the L1 cache.
"""

READ_AGAIN = 1 << 13
"""Entries of A, and as many of C, that stay on the chip above RESIDENT.

The others are read from L1 or L2 at every step, so many at a time.
"""

LARGEST_SIZE, LARGEST_RANK = 1024, 64
"""The largest n and r for which ``backend="auto"`` chooses this backend."""

ROWS_IN_A_TILE = 16
"""Rows of a matrix product: the smallest number that tensor cores take."""

TILE_BYTES = 20
"""The most bytes of shared memory that a tile takes for each entry of A, in float32, TF32 or three-pass TF32.

It was read off compiled kernels.
"""

SINGLE_ROWS = 4
"""Rows for each multiprocessor up to which every row is a separate program.

A step of a single row is the shortest one, as long as there are few programs.
"""

PRECISIONS = {"highest": "ieee", "high": "tf32x3", "medium": "tf32"}


@functools.cache
def installed() -> bool:
    """Return whether the package triton is installed."""
    return importlib.util.find_spec("triton") is not None


def _interpreted() -> bool:
    """Return whether Triton's interpreter runs the kernels, on any device."""
    return os.environ.get("TRITON_INTERPRET", "0") == "1"


def refusal(device: torch.device, dtype: torch.dtype) -> str | None:
    """Return why this backend cannot run, or None if it can.

    It runs on CUDA with the package triton, and on any device under TRITON_INTERPRET=1.
    """
    if not installed():
        return "needs the package triton, which is not installed"
    if device.type != "cuda" and not _interpreted():
        return f"needs a CUDA device; found {device}. On other devices it runs, slowly, only under TRITON_INTERPRET=1"
    if dtype not in (torch.float32, torch.float64):
        return f"needs parameters in float32 or float64; found {dtype}. For bfloat16 states use autocast"
    return None


refusal._dynamo_marked_constant = True  # type: ignore[attr-defined]  # see native.available


def fits(size: int, rank: int) -> bool:
    """Return whether ``backend="auto"`` chooses this backend for n and r on a GPU."""
    return size <= LARGEST_SIZE and rank <= LARGEST_RANK


class TilePlan(NamedTuple):
    """How the batch rows and the columns of A and C are divided among the programs of a Triton kernel."""

    rows: int
    """Batch rows of a program."""
    n: int
    """The hidden size, padded to a power of two."""
    r: int
    """The rank, padded to a power of two."""
    held: int
    """Columns of A and C that stay on the chip."""
    chunk: int
    """How many of the other columns are read at a time."""
    warps: int
    """Warps of a program."""


def plan(size: int, rank: int, rows: int, processors: int, shared: int) -> TilePlan:
    """Return how the kernels divide a recurrence among programs: rows of a program, columns on the chip, warps.

    Args:
        size: The hidden size n.
        rank: r, the number of columns of A and C.
        rows: K B, the batch rows of all trials.
        processors: The number of multiprocessors of the device.
        shared: Bytes of shared memory that a program can have.
    """
    n, r = _power_of_two(size), _power_of_two(rank)
    tile_n, tile_r = max(16, n), max(16, r)
    if rows > SINGLE_ROWS * processors and TILE_BYTES * tile_n * tile_r <= shared:
        return TilePlan(ROWS_IN_A_TILE, tile_n, tile_r, tile_r, tile_r, 8 if tile_n * tile_r > 2048 else 4)
    held = r if n * r <= RESIDENT else min(r, max(1, READ_AGAIN // n))
    # about 32 entries of A and as many of C for each thread
    return TilePlan(1, n, r, held, held, min(16, max(1, n * r // 1024)))


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + sigma h_{t-1} + A (C^T h_{t-1})).

    Shapes are those of ``reference.run``. Cost: 12 n r B T flop for forward, backward and the gradients of W.
    """
    states: Tensor = FORWARD(z, h0, *factors(matrix), offset, activation.name, activation.slope)[0]
    return states


def _run(
    z: Tensor, h0: Tensor, sigma: Tensor, a: Tensor, c: Tensor, offset: Tensor | None, name: str, slope: float
) -> tuple[Tensor, Tensor]:
    """Return the states, in the shape and the dtype of z, and h C at every step, (T, B, r).

    z (T, B, n), h0 (B, n), sigma (n), a and c (n, r), modReLU's offset (n); all of them with a leading K in a pack. z
    may have another dtype than the others.
    """
    states, skinny = z.new_empty(z.shape), z.new_empty(*z.shape[:-1], a.shape[-1])
    # A kernel without an offset does not read it, but it needs a valid address for it.
    inputs = [z, h0, sigma if offset is None else offset, sigma, a, c]
    _launch("forward", inputs, [states, skinny], Activation(name, slope))
    return states, skinny


def _fake(z: Tensor, h0: Tensor, sigma: Tensor, a: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return z.new_empty(z.shape), z.new_empty(*z.shape[:-1], a.shape[-1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, h0, sigma, a, c, offset, *ctx.activation = inputs
    ctx.has_offset = offset is not None
    ctx.save_for_backward(*output, h0, sigma, a, c)


def _backward(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None:
        return (None,) * 8
    needs = (any(ctx.needs_input_grad[2:5]), ctx.has_offset)
    results = BACKWARD(grad, *ctx.saved_tensors, *ctx.activation, *needs)
    return *(present(result) for result in results), None, None


def _run_backward(
    grad: Tensor,
    states: Tensor,
    skinny: Tensor,
    h0: Tensor,
    sigma: Tensor,
    a: Tensor,
    c: Tensor,
    name: str,
    slope: float,
    need_matrix: bool,
    need_offset: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of z, h0, sigma, a, c and the offset; the last four are absent unless they are needed."""
    delta, q = states.new_empty(states.shape), skinny.new_empty(skinny.shape)
    grad_h0, sums = h0.new_empty(h0.shape), sigma.new_empty(h0.shape)
    _launch("backward", [grad, states, h0, sigma, a, c], [delta, q, grad_h0, sums], Activation(name, slope))
    grad_offset = sum_of_signed(delta.to(sigma.dtype), states) if need_offset else absent(sigma)
    if not need_matrix:
        return delta, grad_h0, absent(sigma), absent(sigma), absent(sigma), grad_offset
    start = h0.to(states.dtype)
    grad_a = rows(delta).mT @ rows(skinny)
    grad_c = product_over_rows(start, q[..., 0, :, :], rows(states[..., :-1, :, :]), rows(q[..., 1:, :, :]))
    return delta, grad_h0, sums.sum(-2), grad_a.to(a.dtype), grad_c.to(c.dtype), grad_offset


def _fake_backward(grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    states, _, h0, sigma, a, c, _, _, need_matrix, need_offset = arguments
    matrix = [x.new_empty(x.shape) if need_matrix else absent(x) for x in (sigma, a, c)]
    offset = sigma.new_empty(sigma.shape) if need_offset else absent(sigma)
    return states.new_empty(states.shape), h0.new_empty(h0.shape), *matrix, offset


_REFUSAL = "It is a kernel with a backward pass written by hand. "

FORWARD = Operator(
    "triton(Tensor z, Tensor h0, Tensor sigma, Tensor a, Tensor c, Tensor? offset, str activation, float slope) "
    "-> (Tensor states, Tensor skinny)",
    _run,
    (3, 2, 1, 2, 2, 1, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    kept=1,
    refusal=_REFUSAL + "Use backend='dense' or 'reference'",
)
BACKWARD = Operator(
    "triton_backward(Tensor grad, Tensor states, Tensor skinny, Tensor h0, Tensor sigma, Tensor a, Tensor c, "
    "str activation, float slope, bool need_matrix, bool need_offset) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    (3, 3, 3, 2, 1, 2, 2, 0, 0, 0, 0),
    fake=_fake_backward,
    refusal=_REFUSAL + "For second derivatives use backend='dense' or 'reference', without checkpoint_every",
)


def _launch(name: str, inputs: list[Tensor], outputs: list[Tensor], activation: Activation) -> None:
    """Run one kernel over the whole sequence.

    Args:
        name: ``forward`` or ``backward``.
        inputs: The kernel's inputs: first an array in the shape of the states, last sigma, a and c.
        outputs: The arrays that the kernel fills.
        activation: The nonlinearity.
    """
    like, (sigma, a, c) = inputs[0], inputs[-3:]
    *lead, steps, batch, n = like.shape
    trials, r = lead[0] if lead else 1, a.shape[-1]
    if batch == 0 or trials == 0:
        return
    tiles = plan(n, r, trials * batch, *_device(like.device))
    padding = (0, tiles.r - r, 0, tiles.n - n)
    arrays = [x.contiguous() for x in (*inputs[:-2], *(torch.nn.functional.pad(x, padding) for x in (a, c)))]
    kernels = importlib.import_module("spectral.recurrence.triton_kernels")
    language = kernels.tl
    number = language.float64 if sigma.dtype == torch.float64 else language.float32
    # Triton's interpreter multiplies the bits of bfloat16 as if they were integers, so products stay in float32 there.
    bfloat16_products = like.dtype == torch.bfloat16 and not _interpreted()
    sizes = {"ROWS": tiles.rows, "N": tiles.n, "R": tiles.r, "HELD": tiles.held, "CHUNK": tiles.chunk}
    options = {
        "ACTIVATION": activation.name,
        "SLOPE": activation.slope,
        "NUMBER": number,
        "PRECISION": PRECISIONS[torch.get_float32_matmul_precision()],
        "DOT": language.bfloat16 if bfloat16_products else number,
    }
    with torch.cuda.device(like.device) if like.device.type == "cuda" else contextlib.nullcontext():
        kernel = getattr(kernels, name)[(-(-batch // tiles.rows), trials)]
        kernel(*arrays, *outputs, steps, batch, n, r, num_warps=tiles.warps, **sizes, **options)


def _power_of_two(size: int) -> int:
    """Return the smallest power of two that is at least ``size``."""
    return 1 << max(size - 1, 0).bit_length()


@functools.cache
def _device(device: torch.device) -> tuple[int, int]:
    """Return the number of multiprocessors, and the bytes of shared memory that a program can have."""
    if device.type != "cuda":  # interpreted: a device as small as possible, so that small problems take every path
        return 1, 1 << 17
    properties = torch.cuda.get_device_properties(device)
    shared: int = getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)
    return properties.multi_processor_count, shared
