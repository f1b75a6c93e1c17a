# mypy: ignore-errors
# ruff: noqa: RUF005, SIM108
# (Triton's language is not typed Python, and its package is optional; triton_dense.py imports this file if it is
# installed. It knows neither starred tuples nor conditional expressions of tensors.)
"""The recurrence with W formed as one GPU kernel for each direction of time; see README.md in this folder.

A program owns ROWS batch rows of one trial and runs through all time steps. Rows do not depend on each other, so
programs never wait for one another.

W is cut into tiles of PART units by BLOCK columns. The tiles of the first HELD column blocks stay in registers for the
whole sequence; the others are read at every step, from L1 or L2. A thread holds some columns of some units, so that a
product sums in registers first and then over the few threads that share a unit. The new state reaches all threads
through ``exchange``, a small array in memory that stays in L1. It has two buffers, so that one barrier a step is
enough.

Units beyond n are padded: their rows and columns of W are zero, and their state is kept at exactly zero.
"""

import triton
import triton.language as tl

from spectral.recurrence.triton_kernels import descend, phi


@triton.jit
def pack(
    w, packed, n, BLOCK: tl.constexpr, BLOCKS: tl.constexpr, PART: tl.constexpr, PARTS: tl.constexpr, BACK: tl.constexpr
):
    """Copy W (K, n, n), or its transpose if BACK, into tiles (K, BLOCKS, PARTS, PART, BLOCK), padded with zeros.

    The grid is (BLOCKS PARTS, trials).
    """
    tile, trial = tl.program_id(0), tl.program_id(1).to(tl.int64)
    rows, columns = tl.arange(0, PART), tl.arange(0, BLOCK)
    i, j = (tile % PARTS) * PART + rows[:, None], (tile // PARTS) * BLOCK + columns[None, :]
    at = j * n + i if BACK else i * n + j
    found = tl.load(w + trial * n * n + at, mask=(i < n) & (j < n), other=0.0)
    tl.store(packed + (trial * BLOCKS * PARTS + tile) * PART * BLOCK + rows[:, None] * BLOCK + columns[None, :], found)


@triton.jit
def tiles_of(packed, at, BLOCK: tl.constexpr, HELD: tl.constexpr, PART: tl.constexpr, PARTS: tl.constexpr):
    """Return the tiles of the first HELD column blocks, part by part within a block."""
    tiles = ()
    for i in tl.static_range(HELD * PARTS):
        tiles = tiles + (tl.load(packed + i * PART * BLOCK + at),)
    return tiles


@triton.jit
def product(
    packed,
    held,
    vectors,
    at,
    columns,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    HELD: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Return W times each of the ROWS vectors in memory, as parts of PART units: row 0's parts, row 1's and so on."""
    sums = ()
    for k in tl.static_range(BLOCKS):
        if k < HELD:
            tiles = held[k * PARTS : (k + 1) * PARTS]
        else:
            tiles = ()
            for p in tl.static_range(PARTS):
                tiles = tiles + (tl.load(packed + (k * PARTS + p) * PART * BLOCK + at),)
        added = ()
        for row in tl.static_range(ROWS):
            vector = tl.load(vectors + row * WIDTH + k * BLOCK + columns)[None, :]
            for p in tl.static_range(PARTS):
                if k == 0:
                    added = added + (tiles[p] * vector,)
                else:
                    added = added + (sums[row * PARTS + p] + tiles[p] * vector,)
        sums = added
    totals = ()
    for i in tl.static_range(ROWS * PARTS):
        totals = totals + (tl.sum(sums[i], 1),)
    return totals


@triton.jit
def load_step(
    array,
    first,
    batch,
    n,
    more,
    units,
    ROWS: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    NUMBER: tl.constexpr,
):
    """Return the rows of one step of an array (B, n) in parts, 0 where there is nothing or ``more`` is false."""
    parts = ()
    for row in tl.static_range(ROWS):
        for p in tl.static_range(PARTS):
            at = p * PART + units
            here = (at < n) & (first + row < batch) & more
            parts = parts + (tl.load(array + (first + row) * n + at, mask=here, other=0.0).to(NUMBER),)
    return parts


@triton.jit
def spread_units(BLOCK: tl.constexpr, PART: tl.constexpr):
    """Return the units of a part, and a mask of one entry for each unit, both of shape (PART, BLOCK / 4).

    After a product BLOCK / 4 neighbouring threads have the same sum. A store of this shape takes it from the first of
    them. A store of shape (PART) would first move all numbers through shared memory, with two more barriers.

    The compiler chooses the threads of a store by the axis along which it knows addresses to be consecutive: here the
    second one, where all but the first are masked. The division hides that those along the first axis are so, too.
    """
    units, copies = tl.arange(0, PART) * 2 // 2, tl.arange(0, BLOCK // 4)[None, :]
    return units[:, None] + copies, (units[:, None] >= 0) & (copies == 0)


@triton.jit
def forward(
    z,
    h0,
    offset,
    packed,
    states,
    exchange,
    steps,
    batch,
    n,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    HELD: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
):
    """Run forward through time; the grid is (row groups, trials).

    Reads z (K, T, B, n), h0 (K, B, n), the offset of modReLU (K, n) and the tiles of W. Writes the states (K, T, B, n).
    ``exchange`` has 2 ROWS WIDTH numbers for each program.
    """
    first, trial = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1).to(tl.int64)
    units, columns = tl.arange(0, PART), tl.arange(0, BLOCK)
    tile = units[:, None] * BLOCK + columns[None, :]
    spread, single = spread_units(BLOCK, PART)
    packed += trial * BLOCKS * PARTS * PART * BLOCK
    exchange += (trial * tl.num_programs(0) + tl.program_id(0)) * 2 * ROWS * WIDTH
    step = batch * n
    z += trial * steps * step
    states += trial * steps * step
    held = tiles_of(packed, tile, BLOCK, HELD, PART, PARTS)
    moved = ()
    for p in tl.static_range(PARTS):
        if ACTIVATION == "modrelu":
            at = p * PART + units
            moved = moved + (tl.load(offset + trial * n + at, mask=at < n, other=0.0).to(NUMBER),)
        else:
            moved = moved + (0.0,)
    start = load_step(h0 + trial * step, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
    for row in tl.static_range(ROWS):
        for p in tl.static_range(PARTS):
            tl.store(exchange + row * WIDTH + p * PART + spread, start[row * PARTS + p][:, None], mask=single)
    tl.debug_barrier()
    ahead = load_step(z, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
    for t in range(steps):
        given = ahead
        z += step
        # Loaded a step ahead, so that it has the time of a step to arrive.
        ahead = load_step(z, first, batch, n, t + 1 < steps, units, ROWS, PART, PARTS, NUMBER)
        before, after = exchange + (t % 2) * ROWS * WIDTH, exchange + ((t + 1) % 2) * ROWS * WIDTH
        sums = product(packed, held, before, tile, columns, ROWS, BLOCK, BLOCKS, HELD, PART, PARTS, WIDTH)
        for row in tl.static_range(ROWS):
            for p in tl.static_range(PARTS):
                at = p * PART + spread
                h = phi(given[row * PARTS + p] + sums[row * PARTS + p], moved[p], ACTIVATION, SLOPE)
                h = tl.where(p * PART + units < n, h, 0.0)[:, None]
                tl.store(after + row * WIDTH + at, h, mask=single)
                here = single & (at < n) & (first + row < batch)
                tl.store(states + (first + row) * n + at, h.to(states.dtype.element_ty), mask=here)
        states += step
        tl.debug_barrier()


@triton.jit
def backward(
    grad,
    grad_last,
    states,
    packed,
    delta,
    grad_h0,
    exchange,
    steps,
    batch,
    n,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    HELD: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
    HAS_GRAD: tl.constexpr,
    HAS_LAST: tl.constexpr,
):
    """Run backward through time; the grid is (row groups, trials).

    Reads the gradients of the states (K, T, B, n) and of the last state (K, B, n), as far as they exist, the states and
    the tiles of the transpose of W. Writes delta (K, T, B, n) and grad_h0 (K, B, n).
    """
    first, trial = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1).to(tl.int64)
    units, columns = tl.arange(0, PART), tl.arange(0, BLOCK)
    tile = units[:, None] * BLOCK + columns[None, :]
    spread, single = spread_units(BLOCK, PART)
    packed += trial * BLOCKS * PARTS * PART * BLOCK
    exchange += (trial * tl.num_programs(0) + tl.program_id(0)) * 2 * ROWS * WIDTH
    step = batch * n
    final = (trial * steps + steps - 1) * step
    states += final
    delta += final
    if HAS_GRAD:
        grad += final
    held = tiles_of(packed, tile, BLOCK, HELD, PART, PARTS)
    h = load_step(states, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
    if HAS_GRAD:
        carried = load_step(grad, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
        if HAS_LAST:
            last = load_step(grad_last + trial * step, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
            both = ()
            for i in tl.static_range(ROWS * PARTS):
                both = both + (carried[i] + last[i],)
            carried = both
    else:
        carried = load_step(grad_last + trial * step, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
    for back in range(steps):
        more = back + 1 < steps
        states -= step
        # Loaded before the product, so that they have its time to arrive.
        before = load_step(states, first, batch, n, more, units, ROWS, PART, PARTS, NUMBER)
        if HAS_GRAD:
            grad -= step
            given = load_step(grad, first, batch, n, more, units, ROWS, PART, PARTS, NUMBER)
        passed = exchange + (back % 2) * ROWS * WIDTH
        for row in tl.static_range(ROWS):
            for p in tl.static_range(PARTS):
                at = p * PART + spread
                d = descend(carried[row * PARTS + p], h[row * PARTS + p], ACTIVATION, SLOPE)
                d = tl.where(p * PART + units < n, d, 0.0)[:, None]
                tl.store(passed + row * WIDTH + at, d, mask=single)
                here = single & (at < n) & (first + row < batch)
                tl.store(delta + (first + row) * n + at, d.to(delta.dtype.element_ty), mask=here)
        delta -= step
        tl.debug_barrier()
        sums = product(packed, held, passed, tile, columns, ROWS, BLOCK, BLOCKS, HELD, PART, PARTS, WIDTH)
        if HAS_GRAD:
            both = ()
            for i in tl.static_range(ROWS * PARTS):
                both = both + (given[i] + sums[i],)
            carried = both
        else:
            carried = sums
        h = before
    for row in tl.static_range(ROWS):
        for p in tl.static_range(PARTS):
            at = p * PART + spread
            here = single & (at < n) & (first + row < batch)
            own = trial * step + (first + row) * n + at
            tl.store(grad_h0 + own, carried[row * PARTS + p][:, None].to(grad_h0.dtype.element_ty), mask=here)
