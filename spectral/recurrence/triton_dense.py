"""The backend ``triton_dense``: W formed, and the recurrence on a GPU in one kernel launch for each direction of time.

It is for transitions that are not of low rank, where the two skinny products of ``triton`` cost more than one product
with W. The kernels are in triton_dense_kernels.py. What they keep on the chip, and how fast they are, is in README.md
in this folder. Every sum is in the dtype of W, with neither TF32 nor half precision.
"""

import contextlib
import functools
import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectral import packed_linear
from spectral.operators import Operator, absent, present
from spectral.recurrence.activation import Activation
from spectral.recurrence.reductions import product_over_rows, rows, sum_of_signed
from spectral.transition import Matrix
from spectral.transition import dense as dense_transition

LARGEST_SIZE = 256
"""The largest n for which ``backend="auto"`` chooses this backend."""

REGISTERS_FOR_W = 160
"""32-bit registers of a thread that may hold entries of W, of the 255 that a thread can have."""


class DensePlan(NamedTuple):
    """How rows of a batch and entries of W are divided among programs and threads."""

    rows: int
    """Batch rows of a program."""
    block: int
    """Columns of a tile; a thread has four of them, so block / 4 threads share a unit."""
    part: int
    """Units of a tile, as many as the warps of a program take at a time."""
    held: int
    """Column blocks of W that stay in registers; the others are read at every step."""
    warps: int
    """Warps of a program."""

    def blocks(self, size: int) -> int:
        """Return the number of column blocks for n = ``size``."""
        return -(-size // self.block)

    def parts(self, size: int) -> int:
        """Return the number of parts of ``part`` units for n = ``size``."""
        return -(-size // self.part)


def plan(size: int, rows: int, processors: int, bytes_of_a_number: int = 4) -> DensePlan:
    """Return how the kernels divide a recurrence.

    Args:
        size: The hidden size n.
        rows: K B, the batch rows of all trials.
        processors: The number of multiprocessors of the device.
        bytes_of_a_number: 4 for float32, 8 for float64.
    """
    warps, block = (8, 16) if size > 64 else (4, 16)
    part = warps * 32 * 4 // block
    each = 1 if rows <= processors else 2 if rows <= 4 * processors else 4
    parts, blocks = -(-size // part), -(-size // block)
    registers = parts * 4 * (bytes_of_a_number // 4)  # of a thread, for one column block
    return DensePlan(each, block, part, max(0, min(blocks, REGISTERS_FOR_W // registers)), warps)


def run(z: Tensor, h0: Tensor, matrix: Matrix, activation: Activation, offset: Tensor | None = None) -> Tensor:
    """Return all states of h_t = phi(z_t + W h_{t-1}).

    Shapes are those of ``reference.run``. Cost: 6 n^2 B T flop for forward, backward and the gradient of W.
    """
    return layer(z, None, None, h0, matrix, activation, offset)[0]


def layer(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    h0: Tensor,
    matrix: Matrix,
    activation: Activation,
    offset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return all states and the last state of a layer.

    A loss that reads the last state alone has no gradient of all states, and none is made or read.

    Args:
        x: The input, shape (T, B, I); or z, shape (T, B, n), without ``weight``. With a leading K in a pack, as all.
        weight: M, shape (n, I), or None.
        bias: b, shape (n,), or None.
        h0: The state before the first step, shape (B, n).
        matrix: W in any form.
        activation: The nonlinearity phi.
        offset: The offset of modReLU, shape (n,).
    """
    if weight is not None:
        x = (torch.nn.functional.linear if x.dim() == 3 else packed_linear.linear)(x, weight, bias)
    w = dense_transition(matrix)
    states, last = FORWARD(x, h0, w, offset, activation.name, activation.slope)
    return states, last


def _run(z: Tensor, h0: Tensor, w: Tensor, offset: Tensor | None, name: str, slope: float) -> tuple[Tensor, Tensor]:
    """Return the states, in the shape of z, and a copy of the last one.

    z (T, B, n), h0 (B, n), w (n, n), modReLU's offset (n); all of them with a leading K in a pack.
    """
    states = z.new_empty(z.shape)
    # A kernel without an offset does not read it, but it needs a valid address for it.
    _launch("forward", [z, h0, w if offset is None else offset], w, [states], Activation(name, slope))
    return states, states[..., -1, :, :].clone()


def _fake(z: Tensor, h0: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return z.new_empty(z.shape), z.new_empty(h0.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    _, h0, w, offset, *ctx.activation = inputs
    ctx.has_offset = offset is not None
    ctx.save_for_backward(output[0], h0, w)


def _backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None and grad_last is None:
        return (None,) * 6
    needs = (bool(ctx.needs_input_grad[2]), ctx.has_offset)
    results = BACKWARD(grad, grad_last, *ctx.saved_tensors, *ctx.activation, *needs)
    return *(present(result) for result in results), None, None


def _run_backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    states: Tensor,
    h0: Tensor,
    w: Tensor,
    name: str,
    slope: float,
    need_w: bool,
    need_offset: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of z, h0, w and the offset; the last two are absent unless they are needed."""
    delta, grad_h0 = states.new_empty(states.shape), h0.new_empty(h0.shape)
    if grad is None and grad_last is None:
        grad_last = torch.zeros_like(h0)
    gradients = [states if grad is None else grad, states if grad_last is None else grad_last]
    given = {"HAS_GRAD": grad is not None, "HAS_LAST": grad_last is not None}
    _launch("backward", [*gradients, states], w, [delta, grad_h0], Activation(name, slope), **given)
    grad_offset = sum_of_signed(delta, states) if need_offset else absent(w)
    if not need_w:
        return delta, grad_h0, absent(w), grad_offset
    later, previous = rows(delta[..., 1:, :, :]), rows(states[..., :-1, :, :])
    return delta, grad_h0, product_over_rows(delta[..., 0, :, :], h0, later, previous), grad_offset


def _fake_backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    states: Tensor,
    h0: Tensor,
    w: Tensor,
    name: str,
    slope: float,
    need_w: bool,
    need_offset: bool,
) -> tuple[Tensor, ...]:
    return (
        states.new_empty(states.shape),
        h0.new_empty(h0.shape),
        w.new_empty(w.shape) if need_w else absent(w),
        w.new_empty(w.shape[:-1]) if need_offset else absent(w),
    )


_REFUSAL = "It is a kernel with a backward pass written by hand. "

FORWARD = Operator(
    "triton_dense(Tensor z, Tensor h0, Tensor w, Tensor? offset, str activation, float slope) "
    "-> (Tensor states, Tensor last)",
    _run,
    (3, 2, 2, 1, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    refusal=_REFUSAL + "Use backend='dense' or 'reference'",
)
BACKWARD = Operator(
    "triton_dense_backward(Tensor? grad, Tensor? grad_last, Tensor states, Tensor h0, Tensor w, str activation, "
    "float slope, bool need_w, bool need_offset) -> (Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    (3, 2, 3, 2, 2, 0, 0, 0, 0),
    fake=_fake_backward,
    refusal=_REFUSAL + "For second derivatives use backend='dense' or 'reference', without checkpoint_every",
)


def _launch(
    name: str, inputs: list[Tensor], w: Tensor, outputs: list[Tensor], activation: Activation, **options: bool
) -> None:
    """Run one kernel over the whole sequence.

    Args:
        name: ``forward`` or ``backward``.
        inputs: The kernel's inputs beside W.
        w: W, shape (n, n), or (K, n, n).
        outputs: The arrays that the kernel fills: first one in the shape of the states.
        activation: The nonlinearity.
        options: Further constants of the kernel.
    """
    like = outputs[0]
    *lead, steps, batch, n = like.shape
    trials = lead[0] if lead else 1
    if batch == 0 or trials == 0:
        return
    cut = plan(n, trials * batch, _processors(like.device), like.element_size())
    blocks, parts, groups = cut.blocks(n), cut.parts(n), -(-batch // cut.rows)
    kernels = importlib.import_module("spectral.recurrence.triton_dense_kernels")
    number = kernels.tl.float64 if w.dtype == torch.float64 else kernels.tl.float32
    width = parts * cut.part
    packed = w.new_empty(trials, blocks, width, cut.block)
    exchange = w.new_empty(trials, groups, 2, cut.rows, width)
    sizes = {"BLOCK": cut.block, "BLOCKS": blocks, "PART": cut.part, "PARTS": parts}
    with torch.cuda.device(like.device) if like.device.type == "cuda" else contextlib.nullcontext():
        kernels.pack[(blocks * parts, trials)](w.contiguous(), packed, n, BACK=name == "backward", **sizes)
        getattr(kernels, name)[(groups, trials)](
            *(x.contiguous() for x in inputs),
            packed,
            *outputs,
            exchange,
            steps,
            batch,
            n,
            ROWS=cut.rows,
            HELD=cut.held,
            WIDTH=width,
            ACTIVATION=activation.name,
            SLOPE=activation.slope,
            NUMBER=number,
            num_warps=cut.warps,
            **sizes,
            **options,
        )


@functools.cache
def _processors(device: torch.device) -> int:
    """Return the number of multiprocessors; 1 for the interpreter, so that small problems take every path."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
