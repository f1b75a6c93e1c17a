# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; triton_sums.py imports this file if it is there)
"""The sums over all steps and rows that end a backward pass on a GPU; see README.md in this folder.

``partial_sums`` reads every array once. A program forms the sums over a range of the T B rows of one trial, for a block
of units, TILE rows at a time. ``add_partials`` adds what the ranges gave, in one order. No number is ever added by an
atomic operation, and no range depends on the number of trials, so a trial has the same bits in any company.
"""

import triton
import triton.language as tl


@triton.jit
def split(x):
    """Return float32 numbers as the sum of two that TF32 products read whole."""
    high = ((x.to(tl.uint32, bitcast=True) + 4096) & 0xFFFFE000).to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def add_product(total, left, right, PRECISION: tl.constexpr, DOT: tl.constexpr):
    """Return total + left^T right for left (TILE, R) and right (TILE, N)."""
    # Tensor cores cut off the sums that they carry, they do not round them. So each tile starts from zero and is added
    # outside. The limit keeps the compiler from joining the two again; for float32 it has no other effect.
    if PRECISION == "tf32x3" and right.dtype == tl.float32:
        left_high, left_low = split(tl.trans(left))
        right_high, right_low = split(right)
        own = tl.dot(left_low, right_high, input_precision="tf32", max_num_imprecise_acc=1)
        own = tl.dot(left_high, right_low, own, input_precision="tf32", max_num_imprecise_acc=1)
        own = tl.dot(left_high, right_high, own, input_precision="tf32", max_num_imprecise_acc=1)
    else:
        own = tl.dot(
            tl.trans(left).to(DOT),
            right.to(DOT),
            input_precision=PRECISION,
            max_num_imprecise_acc=1,
            out_dtype=total.dtype,
        )
    return total + own


@triton.jit
def partial_sums(
    delta,
    states,
    h0,
    skinny,
    q,
    x,
    partial,
    rows,
    batch,
    n,
    r,
    features,
    span,
    length,
    TILE: tl.constexpr,
    N: tl.constexpr,
    R: tl.constexpr,
    COLUMNS: tl.constexpr,
    MATRIX: tl.constexpr,
    OFFSET: tl.constexpr,
    BIAS: tl.constexpr,
    NUMBER: tl.constexpr,
    PRECISION: tl.constexpr,
    DOT: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Sum over one range of rows; the grid is (ranges, blocks of N units, K).

    Reads delta and states (K, T B, n), h0 (K, B, n), skinny = h_{t-1} C and q = delta A (K, T B, r), x (K, T B, I).
    Writes (K, ranges, length): the gradients of M (n, I), b (n), the offset (n), sigma (n), a and c (n, r), one after
    another, as far as they are wanted. COLUMNS is 0 if that of M is not, else I: 1, or padded to a power of two.
    """
    part, block, trial = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2).to(tl.int64)
    begin = part * span
    units = block * N + tl.arange(0, N)
    there = units < n
    ranks = tl.arange(0, R)
    local = tl.arange(0, TILE)
    partial += (trial * tl.num_programs(0) + part) * length
    base = trial * rows + begin
    delta += base * n
    here = states + base * n
    # h_{t-1} lies one step, that is ``batch`` rows, before; for the first step it is h0.
    before_first = h0 + (trial * batch + begin) * n
    before_later = here - batch * n
    skinny += base * r
    q += base * r
    x += base * features
    until_later = batch - begin
    end = tl.minimum(rows - begin, span).to(tl.int32)
    sum_a = tl.zeros((R, N), NUMBER)
    sum_c = tl.zeros((R, N), NUMBER)
    sum_sigma = tl.zeros((TILE, N), NUMBER)
    sum_offset = tl.zeros((TILE, N), NUMBER)
    sum_bias = tl.zeros((TILE, N), NUMBER)
    columns = tl.arange(0, COLUMNS if COLUMNS else 1)
    sum_x = tl.zeros((COLUMNS if COLUMNS > 1 else TILE, N), NUMBER)
    for start in tl.range(0, end, TILE, num_stages=STAGES):
        row = start + local
        inside = row < end
        at = row[:, None] * n + units[None, :]
        mask = inside[:, None] & there[None, :]
        d = tl.load(delta + at, mask=mask, other=0.0)
        if MATRIX:
            source = tl.where((row < until_later)[:, None], before_first + at, before_later + at)
            before = tl.load(source, mask=mask, other=0.0)
            at_r = row[:, None] * r + ranks[None, :]
            mask_r = inside[:, None] & (ranks < r)[None, :]
            s = tl.load(skinny + at_r, mask=mask_r, other=0.0)
            p = tl.load(q + at_r, mask=mask_r, other=0.0)
            sum_a = add_product(sum_a, s, d, PRECISION, DOT)
            sum_c = add_product(sum_c, p, before, PRECISION, DOT)
            sum_sigma += d.to(NUMBER) * before.to(NUMBER)
        if OFFSET:
            h = tl.load(here + at, mask=mask, other=0.0).to(NUMBER)
            g = d.to(NUMBER)
            sum_offset += tl.where(h > 0, g, tl.where(h < 0, -g, g * h))
        if BIAS:
            sum_bias += d.to(NUMBER)
        if COLUMNS == 1:
            sum_x += d.to(NUMBER) * tl.load(x + row, mask=inside, other=0.0).to(NUMBER)[:, None]
        elif COLUMNS > 1:
            mask_x = inside[:, None] & (columns < features)[None, :]
            v = tl.load(x + row[:, None] * features + columns[None, :], mask=mask_x, other=0.0)
            sum_x = add_product(sum_x, v, d, PRECISION, DOT)
    if COLUMNS == 1:
        tl.store(partial + units, tl.sum(sum_x, 0), mask=there)
    elif COLUMNS > 1:
        at_x, mask_x = units[None, :] * features + columns[:, None], there[None, :] & (columns < features)[:, None]
        tl.store(partial + at_x, sum_x, mask=mask_x)
    if COLUMNS > 0:
        partial += n * features
    if BIAS:
        tl.store(partial + units, tl.sum(sum_bias, 0), mask=there)
        partial += n
    if OFFSET:
        tl.store(partial + units, tl.sum(sum_offset, 0), mask=there)
        partial += n
    if MATRIX:
        tl.store(partial + units, tl.sum(sum_sigma, 0), mask=there)
        partial += n
        at_m = units[None, :] * r + ranks[:, None]
        mask_m = there[None, :] & (ranks < r)[:, None]
        tl.store(partial + at_m, sum_a, mask=mask_m)
        tl.store(partial + n * r + at_m, sum_c, mask=mask_m)


@triton.jit
def add_partials(
    partial,
    weight,
    bias,
    offset,
    sigma,
    a,
    c,
    parts,
    length,
    n,
    r,
    features,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
    COLUMNS: tl.constexpr,
    MATRIX: tl.constexpr,
    OFFSET: tl.constexpr,
    BIAS: tl.constexpr,
):
    """Add partial (K, parts, length) over the parts, PARTS of them at a time; the grid is (blocks of length, K).

    Writes each gradient to its own array: M (K, n, I), b, the offset and sigma (K, n), a and c (K, n, r).
    """
    trial = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    there = at < length
    some = tl.arange(0, PARTS)
    partial += trial * parts * length
    total = tl.zeros((BLOCK,), partial.dtype.element_ty)
    for start in range(0, parts, PARTS):
        part = start + some
        block = tl.load(
            partial + part[:, None] * length + at[None, :], mask=(part < parts)[:, None] & there[None, :], other=0.0
        )
        total += tl.sum(block, 0)
    if COLUMNS > 0:
        tl.store(weight + trial * n * features + at, total, mask=(at >= 0) & (at < n * features))
        at -= n * features
    if BIAS:
        tl.store(bias + trial * n + at, total, mask=(at >= 0) & (at < n))
        at -= n
    if OFFSET:
        tl.store(offset + trial * n + at, total, mask=(at >= 0) & (at < n))
        at -= n
    if MATRIX:
        tl.store(sigma + trial * n + at, total, mask=(at >= 0) & (at < n))
        at -= n
        tl.store(a + trial * n * r + at, total, mask=(at >= 0) & (at < n * r))
        at -= n * r
        tl.store(c + trial * n * r + at, total, mask=(at >= 0) & (at < n * r))
