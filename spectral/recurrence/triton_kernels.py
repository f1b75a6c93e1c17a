# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; triton.py imports this file if it is installed)
"""The factored recurrence as one GPU kernel for each direction; see README.md in this folder.

A program owns ROWS batch rows of one trial and runs through all time steps. Rows do not depend on each other, so
programs never wait for one another. sigma and the first HELD columns of A and C are loaded once; the others are read at
every step from L1 or L2, CHUNK at a time.

With ROWS = 1 both products are sums of elementwise products over (N, R) arrays of one layout, so that a step moves only
the two sums between threads. With ROWS >= 16 they are matrix products. A and C are padded with zeros to (N, R), where N
and R are powers of two. Padded units stay exactly zero because phi(0) = 0.
"""

import triton
import triton.language as tl


@triton.jit
def into_rank(x, m, ROWS: tl.constexpr, PRECISION: tl.constexpr, DOT: tl.constexpr):
    """Return the product (ROWS, N) x (N, R) -> (ROWS, R), without the row axis if ROWS is 1."""
    if ROWS == 1:
        return tl.sum(x[:, None] * m, 0)
    else:
        return tl.dot(x.to(DOT), m.to(DOT), input_precision=PRECISION, out_dtype=m.dtype)


@triton.jit
def out_of_rank(q, m, ROWS: tl.constexpr, PRECISION: tl.constexpr, DOT: tl.constexpr):
    """Return the product (ROWS, R) x (N, R)^T -> (ROWS, N), without the row axis if ROWS is 1."""
    if ROWS == 1:
        return tl.sum(q[None, :] * m, 1)
    else:
        return tl.dot(q.to(DOT), tl.trans(m).to(DOT), input_precision=PRECISION, out_dtype=m.dtype)


@triton.jit
def places(first, columns, width, batch, ROWS: tl.constexpr):
    """Return offsets in a (B, width) array of one step, and a mask of those that exist."""
    if ROWS == 1:
        return first * width + columns, columns < width
    else:
        rows = first + tl.arange(0, ROWS)
        return rows[:, None] * width + columns[None, :], (rows[:, None] < batch) & (columns[None, :] < width)


@triton.jit
def over_rows(x, ROWS: tl.constexpr):
    """Return a vector (N) in a shape that broadcasts over (ROWS, N)."""
    if ROWS == 1:
        return x
    else:
        return x[None, :]


@triton.jit
def phi(x, offset, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    """Apply the nonlinearity. NaN stays NaN; tanh has an absolute error of a few eps."""
    if ACTIVATION == "tanh":
        e = tl.exp(-2 * tl.abs(x))
        size = (1 - e) / (1 + e)
        return tl.where(x < 0, -size, size)
    elif ACTIVATION == "relu":
        return tl.where(x <= 0, 0.0, x)
    elif ACTIVATION == "leaky_relu":
        return tl.where(x > 0, x, x * SLOPE)
    elif ACTIVATION == "modrelu":
        size = tl.abs(x) + offset
        size = tl.where(size <= 0, 0.0, size)
        return tl.where(x > 0, size, tl.where(x < 0, -size, x))
    else:
        return x


@triton.jit
def descend(g, h, ACTIVATION: tl.constexpr, SLOPE: tl.constexpr):
    """Return g * phi'(x), with phi' computed from h = phi(x)."""
    if ACTIVATION == "tanh":
        return g * (1 - h * h)
    elif ACTIVATION == "relu":
        return tl.where(h > 0, g, tl.where(h == h, 0.0, h))
    elif ACTIVATION == "leaky_relu":
        return tl.where(h > 0, g, g * SLOPE)
    elif ACTIVATION == "modrelu":
        return tl.where(h == 0, 0.0, g)
    else:
        return g


@triton.jit
def forward(
    z,
    h0,
    offset,
    sigma,
    a,
    c,
    states,
    skinny,
    steps,
    batch,
    n,
    r,
    ROWS: tl.constexpr,
    N: tl.constexpr,
    R: tl.constexpr,
    HELD: tl.constexpr,
    CHUNK: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    PRECISION: tl.constexpr,
    NUMBER: tl.constexpr,
    DOT: tl.constexpr,
):
    """Run forward through time; the grid is (row tiles, trials).

    Reads z (K, T, B, n), h0 (K, B, n), the offset of modReLU and sigma (K, n), a and c (K, N, R). Writes the states
    (K, T, B, n) and skinny = h C (K, T, B, r).
    """
    first, trial = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1).to(tl.int64)
    units, ranks, held = tl.arange(0, N), tl.arange(0, CHUNK), tl.arange(0, HELD)
    at, here = places(first, units, n, batch, ROWS)
    matrix = trial * N * R + units[:, None] * R + ranks[None, :]
    diagonal = over_rows(tl.load(sigma + trial * n + units, mask=units < n, other=0.0).to(NUMBER), ROWS)
    moved = diagonal
    if ACTIVATION == "modrelu":
        moved = over_rows(tl.load(offset + trial * n + units, mask=units < n, other=0.0).to(NUMBER), ROWS)
    h = tl.load(h0 + trial * batch * n + at, mask=here, other=0.0).to(NUMBER)
    kept = trial * N * R + units[:, None] * R + held[None, :]
    a_held, c_held = tl.load(a + kept).to(NUMBER), tl.load(c + kept).to(NUMBER)
    step, step_r = batch * n, batch * r
    z += trial * steps * step
    states += trial * steps * step
    skinny += trial * steps * step_r
    z_next = tl.load(z + at, mask=here, other=0.0)
    for t in range(steps):
        x = z_next.to(NUMBER) + diagonal * h
        z += step
        # Loaded a step ahead, so that it has the time of a step to arrive.
        z_next = tl.load(z + at, mask=here & (t + 1 < steps), other=0.0)
        at_r, here_r = places(first, held, r, batch, ROWS)
        q = into_rank(h, c_held, ROWS, PRECISION, DOT)
        tl.store(skinny + at_r, q.to(skinny.dtype.element_ty), mask=here_r)
        x += out_of_rank(q, a_held, ROWS, PRECISION, DOT)
        for start in tl.static_range(HELD, R, CHUNK):
            at_r, here_r = places(first, start + ranks, r, batch, ROWS)
            a_part, c_part = tl.load(a + matrix + start).to(NUMBER), tl.load(c + matrix + start).to(NUMBER)
            q = into_rank(h, c_part, ROWS, PRECISION, DOT)
            tl.store(skinny + at_r, q.to(skinny.dtype.element_ty), mask=here_r)
            x += out_of_rank(q, a_part, ROWS, PRECISION, DOT)
        h = phi(x, moved, ACTIVATION, SLOPE)
        tl.store(states + at, h.to(states.dtype.element_ty), mask=here)
        states += step
        skinny += step_r


@triton.jit
def backward(
    grad,
    states,
    h0,
    sigma,
    a,
    c,
    delta,
    q_all,
    grad_h0,
    grad_sigma,
    steps,
    batch,
    n,
    r,
    ROWS: tl.constexpr,
    N: tl.constexpr,
    R: tl.constexpr,
    HELD: tl.constexpr,
    CHUNK: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    PRECISION: tl.constexpr,
    NUMBER: tl.constexpr,
    DOT: tl.constexpr,
):
    """Run backward through time; the grid is (row tiles, trials).

    Reads what forward does, and grad (K, T, B, n). Writes delta (K, T, B, n), q = delta A (K, T, B, r), grad_h0
    (K, B, n), and grad_sigma (K, B, n): the sum over time of delta_t h_{t-1}, before it is summed over the batch.
    """
    first, trial = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1).to(tl.int64)
    units, ranks, held = tl.arange(0, N), tl.arange(0, CHUNK), tl.arange(0, HELD)
    at, here = places(first, units, n, batch, ROWS)
    matrix = trial * N * R + units[:, None] * R + ranks[None, :]
    diagonal = over_rows(tl.load(sigma + trial * n + units, mask=units < n, other=0.0).to(NUMBER), ROWS)
    kept = trial * N * R + units[:, None] * R + held[None, :]
    a_held, c_held = tl.load(a + kept).to(NUMBER), tl.load(c + kept).to(NUMBER)
    step, step_r = batch * n, batch * r
    ahead = (trial * steps + steps - 1) * step
    grad += ahead
    states += ahead
    delta += ahead
    q_all += (trial * steps + steps - 1) * step_r
    own = trial * step + at
    start_h = tl.load(h0 + own, mask=here, other=0.0).to(NUMBER)
    h = tl.load(states + at, mask=here, other=0.0).to(NUMBER)
    carried = tl.load(grad + at, mask=here, other=0.0).to(NUMBER)
    total = h * 0
    for back in range(steps):
        more = back + 1 < steps
        states -= step
        grad -= step
        before = tl.load(states + at, mask=here & more, other=0.0).to(NUMBER)
        given = tl.load(grad + at, mask=here & more, other=0.0)
        before = tl.where(more, before, start_h)
        d = descend(carried, h, ACTIVATION, SLOPE)
        total += d * before
        tl.store(delta + at, d.to(delta.dtype.element_ty), mask=here)
        carried = given.to(NUMBER) + diagonal * d
        at_r, here_r = places(first, held, r, batch, ROWS)
        q = into_rank(d, a_held, ROWS, PRECISION, DOT)
        tl.store(q_all + at_r, q.to(q_all.dtype.element_ty), mask=here_r)
        carried += out_of_rank(q, c_held, ROWS, PRECISION, DOT)
        for start in tl.static_range(HELD, R, CHUNK):
            at_r, here_r = places(first, start + ranks, r, batch, ROWS)
            a_part, c_part = tl.load(a + matrix + start).to(NUMBER), tl.load(c + matrix + start).to(NUMBER)
            q = into_rank(d, a_part, ROWS, PRECISION, DOT)
            tl.store(q_all + at_r, q.to(q_all.dtype.element_ty), mask=here_r)
            carried += out_of_rank(q, c_part, ROWS, PRECISION, DOT)
        delta -= step
        q_all -= step_r
        h = before
    tl.store(grad_h0 + own, carried.to(grad_h0.dtype.element_ty), mask=here)
    tl.store(grad_sigma + own, total, mask=here)
