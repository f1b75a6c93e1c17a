# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; triton.py imports this file if it is installed)
"""The factored recurrence on a GPU, row by row: one kernel for each direction; see README.md in this folder.

A program owns one batch row of one trial and runs through all time steps. Rows do not depend on each other, so programs
never wait for one another. sigma and the first HELD columns of A and C are loaded once; the others are read at every
step from L1 or L2, CHUNK at a time. Both products are sums of elementwise products over (N, R) arrays of one layout, so
that a step moves only the two sums between threads. N and R are powers of two, and what lies beyond n and r is zero.
Padded units stay exactly zero because phi(0) = 0.
"""

import triton
import triton.language as tl


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
def columns_of(matrix, units, columns, n, width):
    """Load some columns of a matrix (n, width) as an array (N, columns), with zeros beyond n and width."""
    there = (units[:, None] < n) & (columns[None, :] < width)
    return tl.load(matrix + units[:, None] * width + columns[None, :], mask=there, other=0.0)


@triton.jit
def input_of(x, units, inputs, n, features, there, FEATURES: tl.constexpr):
    """Load z (N) of one step and row, or x: a number if there is one feature, else a vector (FEATURES)."""
    if FEATURES == 0:
        return tl.load(x + units, mask=(units < n) & there, other=0.0)
    elif FEATURES == 1:
        return tl.load(x, mask=there, other=0.0)
    else:
        return tl.load(x + inputs, mask=(inputs < features) & there, other=0.0)


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
    HELD: tl.constexpr,
    CHUNK: tl.constexpr,
    FEATURES: tl.constexpr,
    BIAS: tl.constexpr,
    KEEP: tl.constexpr,
    AHEAD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
):
    """Run forward through time; the grid is (B, K).

    Reads x (K, T, B, I), h0 (K, B, n), sigma, b and the offset of modReLU (K, n), a and c (K, n, r), and M (K, n, I).
    FEATURES is I, padded to a power of two, or 0 if x is z, of shape (K, T, B, n). Without BIAS b is not read. Writes
    the states (K, T, B, n) and skinny = h C (K, T, B, r), unless KEEP is false, and the last state (K, B, n).
    """
    row, trial = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    units, ranks, held = tl.arange(0, N), tl.arange(0, CHUNK), tl.arange(0, HELD)
    here = units < n
    diagonal = tl.load(sigma + trial * n + units, mask=here, other=0.0).to(NUMBER)
    moved = diagonal
    if ACTIVATION == "modrelu":
        moved = tl.load(offset + trial * n + units, mask=here, other=0.0).to(NUMBER)
    start = diagonal * 0
    if BIAS:
        start = tl.load(bias + trial * n + units, mask=here, other=0.0).to(NUMBER)
    h = tl.load(h0 + (trial * batch + row) * n + units, mask=here, other=0.0).to(NUMBER)
    a += trial * n * r
    c += trial * n * r
    a_held, c_held = columns_of(a, units, held, n, r).to(NUMBER), columns_of(c, units, held, n, r).to(NUMBER)
    first = trial * steps * batch + row
    states += first * n
    skinny += first * r
    inputs = tl.arange(0, FEATURES if FEATURES > 1 else 1)
    width = n if FEATURES == 0 else features
    x += first * width
    if FEATURES == 1:
        gain = tl.load(weight + trial * n + units, mask=here, other=0.0).to(NUMBER)
    elif FEATURES > 1:
        gains = columns_of(weight + trial * n * features, units, inputs, n, features).to(NUMBER)
    # x is loaded AHEAD steps ahead. A step of a small net is shorter than the way to memory.
    x_now = input_of(x, units, inputs, n, features, steps > 0, FEATURES)
    if AHEAD == 2:
        x += batch * width
        x_next = input_of(x, units, inputs, n, features, steps > 1, FEATURES)
    for t in range(steps):
        if FEATURES == 0:
            z = x_now.to(NUMBER)
            if BIAS:
                z += start
        elif FEATURES == 1:
            z = gain * x_now.to(NUMBER) + start
        else:
            z = tl.sum(gains * x_now.to(NUMBER)[None, :], 1) + start
        x += batch * width
        if AHEAD == 2:
            x_now = x_next
            x_next = input_of(x, units, inputs, n, features, t + 2 < steps, FEATURES)
        else:
            x_now = input_of(x, units, inputs, n, features, t + 1 < steps, FEATURES)
        z += diagonal * h
        q = tl.sum(h[:, None] * c_held, 0)
        if KEEP:
            tl.store(skinny + held, q.to(skinny.dtype.element_ty), mask=held < r)
        z += tl.sum(q[None, :] * a_held, 1)
        for begin in tl.static_range(HELD, R, CHUNK):
            a_part = columns_of(a, units, begin + ranks, n, r).to(NUMBER)
            c_part = columns_of(c, units, begin + ranks, n, r).to(NUMBER)
            q = tl.sum(h[:, None] * c_part, 0)
            if KEEP:
                tl.store(skinny + begin + ranks, q.to(skinny.dtype.element_ty), mask=begin + ranks < r)
            z += tl.sum(q[None, :] * a_part, 1)
        h = phi(z, moved, ACTIVATION, SLOPE)
        if KEEP:
            tl.store(states + units, h.to(states.dtype.element_ty), mask=here)
            states += batch * n
            skinny += batch * r
    tl.store(last + (trial * batch + row) * n + units, h.to(last.dtype.element_ty), mask=here)


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
    HELD: tl.constexpr,
    CHUNK: tl.constexpr,
    GRAD: tl.constexpr,
    GRAD_LAST: tl.constexpr,
    AHEAD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
):
    """Run backward through time; the grid is (B, K).

    Reads the states, sigma, a and c as forward does, grad (K, T, B, n) if GRAD, and grad_last (K, B, n), the gradient
    of the last state, if GRAD_LAST. Writes delta (K, T, B, n), q = delta A (K, T, B, r) and grad_h0 (K, B, n).
    """
    row, trial = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    units, ranks, held = tl.arange(0, N), tl.arange(0, CHUNK), tl.arange(0, HELD)
    here = units < n
    diagonal = tl.load(sigma + trial * n + units, mask=here, other=0.0).to(NUMBER)
    a += trial * n * r
    c += trial * n * r
    a_held, c_held = columns_of(a, units, held, n, r).to(NUMBER), columns_of(c, units, held, n, r).to(NUMBER)
    final = (trial * steps + steps - 1) * batch + row
    grad += final * n
    states += final * n
    delta += final * n
    q_all += final * r
    step = batch * n
    own = (trial * batch + row) * n + units
    h = tl.load(states + units, mask=here, other=0.0).to(NUMBER)
    carried = h * 0
    if GRAD:
        carried = tl.load(grad + units, mask=here, other=0.0).to(NUMBER)
    if GRAD_LAST:
        carried += tl.load(grad_last + own, mask=here, other=0.0).to(NUMBER)
    # States and their gradients are loaded AHEAD steps ahead. A step of a small net is shorter than the way to memory.
    if AHEAD == 2:
        states -= step
        before = tl.load(states + units, mask=here & (steps > 1), other=0.0)
        if GRAD:
            grad -= step
            given = tl.load(grad + units, mask=here & (steps > 1), other=0.0)
    for back in range(steps):
        more = back + AHEAD < steps
        states -= step
        earlier = tl.load(states + units, mask=here & more, other=0.0)
        if GRAD:
            grad -= step
            given_earlier = tl.load(grad + units, mask=here & more, other=0.0)
        if AHEAD == 1:
            before = earlier
            if GRAD:
                given = given_earlier
        d = descend(carried, h, ACTIVATION, SLOPE)
        tl.store(delta + units, d.to(delta.dtype.element_ty), mask=here)
        carried = diagonal * d
        if GRAD:
            carried += given.to(NUMBER)
            if AHEAD == 2:
                given = given_earlier
        q = tl.sum(d[:, None] * a_held, 0)
        tl.store(q_all + held, q.to(q_all.dtype.element_ty), mask=held < r)
        carried += tl.sum(q[None, :] * c_held, 1)
        for begin in tl.static_range(HELD, R, CHUNK):
            a_part = columns_of(a, units, begin + ranks, n, r).to(NUMBER)
            c_part = columns_of(c, units, begin + ranks, n, r).to(NUMBER)
            q = tl.sum(d[:, None] * a_part, 0)
            tl.store(q_all + begin + ranks, q.to(q_all.dtype.element_ty), mask=begin + ranks < r)
            carried += tl.sum(q[None, :] * c_part, 1)
        delta -= step
        q_all -= batch * r
        h = before.to(NUMBER)
        if AHEAD == 2:
            before = earlier
    tl.store(grad_h0 + own, carried.to(grad_h0.dtype.element_ty), mask=here)
