# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; triton.py imports this file if it is installed)
"""The factored recurrence on a GPU by tiles of ROWS batch rows: one kernel for each direction; see README.md here.

A program owns ROWS rows of one trial and runs through all time steps, and programs never wait for one another. The
state is kept transposed, h^T (N, ROWS), so that the rows, of which a tile has only 8 or 16, are the short side of the
matrix products q^T = C^T h^T and A q^T. The constant A and C^T are the operands that tensor cores keep in registers.

The N units are cut into GROUPS blocks, the first axis of every array: one block for each warp. q is a sum over the
blocks of products of length N / GROUPS, so that the chain of dependent products in a step is short. What lies beyond n,
r and I is zero. Padded units stay exactly zero because phi(0) = 0.
"""

import triton
import triton.language as tl

from spectral.recurrence.triton_kernels import descend, phi


@triton.jit
def split(x, CONSTANT: tl.constexpr):
    """Return float32 numbers as the sum of two that TF32 products read whole; CONSTANT if they are so in every step."""
    bits = x.to(tl.uint32, bitcast=True)
    if CONSTANT:
        # 8192, which the compiler behind Triton finds out and Triton does not. What Triton itself can compute before
        # the loop it puts into shared memory, and reads it again at every step; the other one keeps it in registers.
        unit = tl.minimum(tl.maximum(bits, 8192), 8192)
        raised = bits + 4096
        count = raised // unit
        high = (count * unit).to(tl.float32, bitcast=True)
        x = (count * unit + raised % unit - 4096).to(tl.float32, bitcast=True)
    else:
        high = ((bits + 4096) & 0xFFFFE000).to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def product(m, x, PRECISION: tl.constexpr, DOT: tl.constexpr):
    """Return the products (GROUPS, M, L) x (GROUPS, L, ROWS) -> (GROUPS, M, ROWS); m is the same in every step.

    Three TF32 products give m x up to the product of what the first rounding leaves of both.
    """
    if PRECISION == "tf32x3" and m.dtype == tl.float32:
        m_high, m_low = split(m, True)
        x_high, x_low = split(x, False)
        # Three sums of their own, which do not wait for each other: the limit keeps the compiler from chaining them.
        high = tl.dot(m_high, x_high, input_precision="tf32", max_num_imprecise_acc=1)
        low = tl.dot(m_low, x_high, input_precision="tf32", max_num_imprecise_acc=1)
        low += tl.dot(m_high, x_low, input_precision="tf32", max_num_imprecise_acc=1)
        return high + low
    else:
        return tl.dot(m, x.to(DOT), input_precision=PRECISION, out_dtype=x.dtype)


@triton.jit
def in_all_groups(q, GROUPS: tl.constexpr):
    """Return q (M, ROWS) as (GROUPS, M, ROWS)."""
    return tl.broadcast_to(q[None, :, :], (GROUPS, q.shape[0], q.shape[1]))


@triton.jit
def of_units(array, units, n, there: tl.constexpr, NUMBER: tl.constexpr):
    """Load a vector over the units (GROUPS, N / GROUPS, 1); zeros if it is not there."""
    if there:
        return tl.load(array + units, mask=units < n, other=0.0).to(NUMBER)
    else:
        return tl.zeros(units.shape, NUMBER)


@triton.jit
def forward(
    x,
    h0,
    sigma,
    a,
    c,
    weight,
    bias,
    offset,
    states,
    last,
    skinny,
    steps,
    batch,
    n,
    r,
    features,
    N: tl.constexpr,
    R: tl.constexpr,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    FEATURES: tl.constexpr,
    BIAS: tl.constexpr,
    KEEP: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
    PRECISION: tl.constexpr,
    DOT: tl.constexpr,
):
    """Run forward through time; the grid is (tiles of ROWS rows, K). Arguments as in triton_kernels.forward."""
    first, trial = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1).to(tl.int64)
    block: tl.constexpr = N // GROUPS
    inside = tl.arange(0, block)[None, :, None]
    units = tl.arange(0, GROUPS)[:, None, None] * block + inside
    ranks = tl.arange(0, R)
    row = tl.arange(0, ROWS)
    exists = first + row < batch
    here = (units < n) & exists[None, None, :]
    at = row[None, None, :] * n + units
    at_r, here_r = row[None, :] * r + ranks[:, None], (ranks[:, None] < r) & exists[None, :]
    diagonal = of_units(sigma + trial * n, units, n, True, NUMBER)
    moved = of_units(offset + trial * n, units, n, ACTIVATION == "modrelu", NUMBER)
    start = of_units(bias + trial * n, units, n, BIAS, NUMBER)
    # A as (GROUPS, N / GROUPS, R), and C^T as (GROUPS, R, N / GROUPS)
    left = ranks[None, None, :]
    a_held = tl.load(a + trial * n * r + units * r + left, mask=(units < n) & (left < r), other=0.0).to(DOT)
    across = tl.arange(0, GROUPS)[:, None, None] * block + tl.arange(0, block)[None, None, :]
    down = ranks[None, :, None]
    c_held = tl.load(c + trial * n * r + across * r + down, mask=(across < n) & (down < r), other=0.0).to(DOT)
    h = tl.load(h0 + (trial * batch + first) * n + at, mask=here, other=0.0).to(NUMBER)
    last += (trial * batch + first) * n
    begin = trial * steps * batch + first
    states += begin * n
    skinny += begin * r
    if FEATURES == 0:
        x += begin * n
        step = batch * n
        x_next = tl.load(x + at, mask=here, other=0.0)
    elif FEATURES == 1:
        x += begin
        step = batch
        gain = of_units(weight + trial * n, units, n, True, NUMBER)
        x_next = tl.load(x + row, mask=exists, other=0.0)
    else:
        x += begin * features
        step = batch * features
        inputs = tl.arange(0, FEATURES)
        wide = inputs[None, None, :]
        gains = tl.load(
            weight + trial * n * features + units * features + wide, mask=(units < n) & (wide < features), other=0.0
        ).to(DOT)
        at_x = row[None, :] * features + inputs[:, None]
        here_x = (inputs[:, None] < features) & exists[None, :]
        x_next = tl.load(x + at_x, mask=here_x, other=0.0)
    for t in range(steps):
        # Nothing in z waits for the step before; x is loaded a step ahead, so that it has a step's time to arrive.
        if FEATURES == 0:
            z = x_next.to(NUMBER) + start
        elif FEATURES == 1:
            z = gain * x_next.to(NUMBER)[None, None, :] + start
        else:
            z = product(gains, in_all_groups(x_next.to(NUMBER), GROUPS), PRECISION, DOT) + start
        x += step
        more = t + 1 < steps
        if FEATURES == 0:
            x_next = tl.load(x + at, mask=here & more, other=0.0)
        elif FEATURES == 1:
            x_next = tl.load(x + row, mask=exists & more, other=0.0)
        else:
            x_next = tl.load(x + at_x, mask=here_x & more, other=0.0)
        q = tl.sum(product(c_held, h, PRECISION, DOT), 0)
        z += diagonal * h
        z += product(a_held, in_all_groups(q, GROUPS), PRECISION, DOT)
        h = phi(z, moved, ACTIVATION, SLOPE)
        if KEEP:
            tl.store(skinny + at_r, q.to(skinny.dtype.element_ty), mask=here_r)
            tl.store(states + at, h.to(states.dtype.element_ty), mask=here)
            states += batch * n
            skinny += batch * r
    tl.store(last + at, h.to(last.dtype.element_ty), mask=here)


@triton.jit
def backward(
    grad,
    grad_last,
    states,
    sigma,
    a,
    c,
    delta,
    q_all,
    grad_h0,
    steps,
    batch,
    n,
    r,
    N: tl.constexpr,
    R: tl.constexpr,
    ROWS: tl.constexpr,
    GROUPS: tl.constexpr,
    GRAD: tl.constexpr,
    GRAD_LAST: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
    PRECISION: tl.constexpr,
    DOT: tl.constexpr,
):
    """Run backward through time; the grid is (tiles of ROWS rows, K). Arguments as in triton_kernels.backward."""
    first, trial = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1).to(tl.int64)
    block: tl.constexpr = N // GROUPS
    units = tl.arange(0, GROUPS)[:, None, None] * block + tl.arange(0, block)[None, :, None]
    ranks = tl.arange(0, R)
    row = tl.arange(0, ROWS)
    exists = first + row < batch
    here = (units < n) & exists[None, None, :]
    at = row[None, None, :] * n + units
    at_r, here_r = row[None, :] * r + ranks[:, None], (ranks[:, None] < r) & exists[None, :]
    diagonal = of_units(sigma + trial * n, units, n, True, NUMBER)
    # C as (GROUPS, N / GROUPS, R), and A^T as (GROUPS, R, N / GROUPS)
    left = ranks[None, None, :]
    c_held = tl.load(c + trial * n * r + units * r + left, mask=(units < n) & (left < r), other=0.0).to(DOT)
    across = tl.arange(0, GROUPS)[:, None, None] * block + tl.arange(0, block)[None, None, :]
    down = ranks[None, :, None]
    a_held = tl.load(a + trial * n * r + across * r + down, mask=(across < n) & (down < r), other=0.0).to(DOT)
    final = (trial * steps + steps - 1) * batch + first
    grad += final * n
    states += final * n
    delta += final * n
    q_all += final * r
    step = batch * n
    own = (trial * batch + first) * n + at
    h = tl.load(states + at, mask=here, other=0.0).to(NUMBER)
    carried = h * 0
    if GRAD:
        carried = tl.load(grad + at, mask=here, other=0.0).to(NUMBER)
    if GRAD_LAST:
        carried += tl.load(grad_last + own, mask=here, other=0.0).to(NUMBER)
    for back in range(steps):
        more = back + 1 < steps
        states -= step
        before = tl.load(states + at, mask=here & more, other=0.0)
        if GRAD:
            grad -= step
            given = tl.load(grad + at, mask=here & more, other=0.0)
        d = descend(carried, h, ACTIVATION, SLOPE)
        part = product(a_held, d, PRECISION, DOT)
        # What is stored moves between threads first. It does so while tensor cores are at work.
        tl.store(delta + at, d.to(delta.dtype.element_ty), mask=here)
        q = tl.sum(part, 0)
        carried = diagonal * d
        if GRAD:
            carried += given.to(NUMBER)
        part = product(c_held, in_all_groups(q, GROUPS), PRECISION, DOT)
        tl.store(q_all + at_r, q.to(q_all.dtype.element_ty), mask=here_r)
        carried += part
        delta -= step
        q_all -= batch * r
        h = before.to(NUMBER)
    tl.store(grad_h0 + own, carried.to(grad_h0.dtype.element_ty), mask=here)
