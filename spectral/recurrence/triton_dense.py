"""The backend ``triton_dense``: W formed, and the recurrence on a GPU in one kernel launch for each direction of time.

It is for transitions that are not of low rank, where the two skinny products of ``triton`` cost more than one product
with W. The kernels are in triton_dense_kernels.py. What they keep on the chip, and how fast they are, is in README.md
in this folder. Every sum is in the dtype of W, with neither TF32 nor half precision.
"""

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectral import packed_linear
from spectral.gpu.device import device_of
from spectral.operators import Operator, absent, present
from spectral.recurrence.activation import Activation
from spectral.recurrence.reductions import product_over_rows, rows, sum_of_signed
from spectral.recurrence.triton_device import processors_of
from spectral.transition import Matrix
from spectral.transition import dense as dense_transition

LARGEST_PACKED, LARGEST_ALONE = 256, 512
"""The largest n for which ``backend="auto"`` chooses this backend in a pack, and without a trial axis.

Above 256 every program reads most of W from L2 at every step. One trial is still faster so than one product a step.
"""

WIDEST_INPUT = 4
"""Features of x up to which the kernels form M x + b and the gradients of M and b; above, products beforehand do."""

DEEP, SHALLOW = 4, 2
"""Steps that the input, or the states and gradients in backward, are read ahead; even numbers.

Steps are short enough to need the larger number only with one row and n up to LARGEST_DEEP. The body of the loop has as
many steps, and for larger programs the compiler takes minutes over four of them.
"""

LARGEST_DEEP = 128

UNROLLED_TILES = 64
"""Tiles of W up to which a step has no loop over them, so that all can be read at once."""


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

    More rows for a program mean fewer rounds of programs, but more registers. What a thread may hold of W leaves room
    for sums and for what is on its way, of 255 registers, or 128 with 16 warps.

    Args:
        size: The hidden size n.
        rows: K B, the batch rows of all trials.
        processors: The number of multiprocessors of the device.
        bytes_of_a_number: 4 for float32, 8 for float64.
    """
    block, numbers = 16, bytes_of_a_number // 4  # a number of float64 takes two registers
    if size > LARGEST_PACKED:
        each, warps, registers = 2, 16, 16
    elif size > 192:
        each, warps, registers = 1, 8, 128
    elif size > 128:
        each, warps, registers = 2 if rows > 2 * processors else 1, 8, 160
    else:
        warps, registers = 4 if size <= 64 or rows > processors else 8, 160
        each = min(4 if size <= 64 else 2, max(1, -(-rows // (2 * processors))))
    part = warps * 128 // block
    held = registers // (-(-size // part) * 4 * numbers)
    return DensePlan(each, block, part, min(-(-size // block), held), warps)


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
    if weight is not None and x.shape[-1] > WIDEST_INPUT:
        x = (torch.nn.functional.linear if x.dim() == 3 else packed_linear.linear_of_trials)(x, weight, bias)
        weight, bias = None, None
    w = dense_transition(matrix)
    states, last = FORWARD(x, h0, w, weight, bias, offset, activation.name, activation.slope)
    return states, last


def _run(
    x: Tensor,
    h0: Tensor,
    w: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    offset: Tensor | None,
    name: str,
    slope: float,
) -> tuple[Tensor, Tensor]:
    """Return the states, shape (T, B, n), and a copy of the last one.

    x is (T, B, I) with M (n, I) and b (n) or None; or it is z (T, B, n) without M. h0 (B, n), w (n, n), modReLU's
    offset (n); all of them with a leading K in a pack.
    """
    states = x.new_empty(*x.shape[:-1], w.shape[-1])
    if weight is not None and bias is None:
        bias = w.new_zeros(w.shape[:-1])
    # A kernel does not read what is not there, but it needs a valid address for it.
    inputs = [x, h0, *(w if tensor is None else tensor for tensor in (offset, weight, bias))]
    features = 0 if weight is None else x.shape[-1]
    _launch("forward", inputs, w, [states], Activation(name, slope), FEATURES=features)
    return states, states[..., -1, :, :].clone()


def _fake(x: Tensor, h0: Tensor, w: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(*x.shape[:-1], w.shape[-1]), x.new_empty(h0.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, h0, w, weight, bias, offset, *ctx.activation = inputs
    ctx.has = weight is not None, bias is not None, offset is not None
    ctx.save_for_backward(output[0], h0, w, *([] if weight is None else [x, weight]))


def _backward(ctx: Any, grad: Tensor | None, grad_last: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients of all arguments of ``_run``."""
    if grad is None and grad_last is None:
        return (None,) * 8
    has_weight, has_bias, has_offset = ctx.has
    states, h0, w, *input = ctx.saved_tensors
    x, weight = input if has_weight else (None, None)
    need_delta = weight is None or bool(ctx.needs_input_grad[0])
    needs = (need_delta, bool(ctx.needs_input_grad[2]), has_bias, has_offset)
    delta, *results = BACKWARD(grad, grad_last, states, h0, w, x, *ctx.activation, *needs)
    grad_x = present(delta)
    if weight is not None and x is not None and grad_x is not None:
        grad_x = (rows(grad_x) @ weight).view(x.shape)
    return grad_x, *(present(result) for result in results), None, None


def _run_backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    states: Tensor,
    h0: Tensor,
    w: Tensor,
    x: Tensor | None,
    name: str,
    slope: float,
    need_delta: bool,
    need_w: bool,
    need_bias: bool,
    need_offset: bool,
) -> tuple[Tensor, ...]:
    """Return the gradients of z, h0, w, M, b and the offset; all but that of h0 may be absent.

    The one of z is also what that of x follows from. Those of M and b are there if ``x`` is.
    """
    delta, grad_h0 = states.new_empty(states.shape), h0.new_empty(h0.shape)
    if grad is None and grad_last is None:
        grad_last = torch.zeros_like(h0)
    gradients = [states if grad is None else grad, states if grad_last is None else grad_last]
    options = {"HAS_GRAD": grad is not None, "HAS_LAST": grad_last is not None}
    features, groups = (0 if x is None else x.shape[-1]), _groups(states)
    sums = w.new_empty(*w.shape[:-2], groups, 1 + features, w.shape[-1]) if features else grad_h0
    inputs = [*gradients, states, states if x is None else x]
    _launch("backward", inputs, w, [delta, grad_h0, sums], Activation(name, slope), FEATURES=features, **options)
    grad_offset = sum_of_signed(delta, states) if need_offset else absent(w)
    grad_w = _gradient_of_w(delta, states, h0) if need_w else absent(w)
    delta = delta if need_delta else absent(w)
    if not features:
        return delta, grad_h0, grad_w, absent(w), absent(w), grad_offset
    total = sums.sum(-3)
    grad_bias = total[..., 0, :].clone() if need_bias else absent(w)
    return delta, grad_h0, grad_w, total[..., 1:, :].mT.contiguous(), grad_bias, grad_offset


def _gradient_of_w(delta: Tensor, states: Tensor, h0: Tensor) -> Tensor:
    """Return the sum over steps and rows of delta_t^T h_{t-1}, shape (n, n)."""
    if delta.dim() == 4 and delta.shape[0] * (-(-delta.shape[-1] // 64)) ** 2 < processors_of(delta.device):
        # A batched product cuts only the result into blocks, each of which then walks all rows alone, while a product
        # of two matrices divides the rows among blocks too.
        return torch.stack([_gradient_of_w(*trial) for trial in zip(delta, states, h0, strict=True)])
    later, previous = rows(delta[..., 1:, :, :]), rows(states[..., :-1, :, :])
    return product_over_rows(delta[..., 0, :, :], h0, later, previous)


def _fake_backward(
    grad: Tensor | None,
    grad_last: Tensor | None,
    states: Tensor,
    h0: Tensor,
    w: Tensor,
    x: Tensor | None,
    name: str,
    slope: float,
    need_delta: bool,
    need_w: bool,
    need_bias: bool,
    need_offset: bool,
) -> tuple[Tensor, ...]:
    row = w.shape[:-1]
    return (
        states.new_empty(states.shape) if need_delta else absent(w),
        h0.new_empty(h0.shape),
        w.new_empty(w.shape) if need_w else absent(w),
        absent(w) if x is None else w.new_empty(*row, x.shape[-1]),
        w.new_empty(row) if need_bias and x is not None else absent(w),
        w.new_empty(row) if need_offset else absent(w),
    )


_REFUSAL = "It is a kernel with a backward pass written by hand. "

FORWARD = Operator(
    "triton_dense(Tensor x, Tensor h0, Tensor w, Tensor? weight, Tensor? bias, Tensor? offset, str activation, "
    "float slope) -> (Tensor states, Tensor last)",
    _run,
    (3, 2, 2, 2, 1, 1, 0, 0),
    fake=_fake,
    setup=_keep,
    backward=_backward,
    refusal=_REFUSAL + "Use backend='dense' or 'reference'",
)
BACKWARD = Operator(
    "triton_dense_backward(Tensor? grad, Tensor? grad_last, Tensor states, Tensor h0, Tensor w, Tensor? x, "
    "str activation, float slope, bool need_delta, bool need_w, bool need_bias, bool need_offset) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _run_backward,
    (3, 2, 3, 2, 2, 3, 0, 0, 0, 0, 0, 0),
    fake=_fake_backward,
    refusal=_REFUSAL + "For second derivatives use backend='dense' or 'reference', without checkpoint_every",
)


def _launch(
    name: str, inputs: list[Tensor], w: Tensor, outputs: list[Tensor], activation: Activation, **options: int
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
    cut = _plan(like)
    blocks, parts, groups = cut.blocks(n), cut.parts(n), -(-batch // cut.rows)
    kernels = importlib.import_module("spectral.recurrence.triton_dense_kernels")
    number = kernels.tl.float64 if w.dtype == torch.float64 else kernels.tl.float32
    width = parts * cut.part
    packed = w.new_empty(trials, blocks, width, cut.block)
    exchange = w.new_empty(trials, groups, 2, cut.rows, width)
    sizes = {"BLOCK": cut.block, "BLOCKS": blocks, "PART": cut.part, "PARTS": parts}
    unrolled = blocks if blocks * parts <= UNROLLED_TILES else max(1, cut.held)
    with device_of(like):
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
            UNROLLED=unrolled,
            WIDTH=width,
            DEPTH=DEEP if cut.rows == 1 and n <= LARGEST_DEEP and steps >= 4 * DEEP else SHALLOW,
            ACTIVATION=activation.name,
            SLOPE=activation.slope,
            NUMBER=number,
            num_warps=cut.warps,
            **sizes,
            **options,
        )


def _plan(states: Tensor) -> DensePlan:
    """Return the plan for states of shape (T, B, n), or (K, T, B, n)."""
    trials, batch, n = states.shape[:-3].numel(), *states.shape[-2:]
    return plan(n, trials * batch, processors_of(states.device), states.element_size())


def _groups(states: Tensor) -> int:
    """Return how many programs run the rows of one trial."""
    return -(-states.shape[-2] // _plan(states).rows)
