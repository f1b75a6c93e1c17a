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
def read_block(packed, at, BLOCK: tl.constexpr, PART: tl.constexpr, PARTS: tl.constexpr):
    """Return the tiles of one column block, read from memory."""
    tiles = ()
    for p in tl.static_range(PARTS):
        tiles = tiles + (tl.load(packed + p * PART * BLOCK + at),)
    return tiles


@triton.jit
def add_block(sums, tiles, vectors, columns, ROWS: tl.constexpr, PARTS: tl.constexpr, WIDTH: tl.constexpr):
    """Return the sums with the products of one column block added; the sums are empty before the first block."""
    added = ()
    for row in tl.static_range(ROWS):
        vector = tl.load(vectors + row * WIDTH + columns)[None, :]
        for p in tl.static_range(PARTS):
            if len(sums) == 0:
                added = added + (tiles[p] * vector,)
            else:
                added = added + (sums[row * PARTS + p] + tiles[p] * vector,)
    return added


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
    UNROLLED: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Return W times each of the ROWS vectors in memory, as parts of PART units: row 0's parts, row 1's and so on."""
    sums = ()
    for k in tl.static_range(UNROLLED):
        if k < HELD:
            tiles = held[k * PARTS : (k + 1) * PARTS]
        else:
            tiles = read_block(packed + k * PARTS * PART * BLOCK, at, BLOCK, PART, PARTS)
        sums = add_block(sums, tiles, vectors + k * BLOCK, columns, ROWS, PARTS, WIDTH)
    for k in range(UNROLLED, BLOCKS):
        tiles = read_block(packed + k * PARTS * PART * BLOCK, at, BLOCK, PART, PARTS)
        sums = add_block(sums, tiles, vectors + k * BLOCK, columns, ROWS, PARTS, WIDTH)
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
def vectors_of(array, at, n, stride, PARTS: tl.constexpr, PART: tl.constexpr, NUMBER: tl.constexpr):
    """Return the parts of a vector of n numbers that lie ``stride`` apart, padded with zeros."""
    parts = ()
    for p in tl.static_range(PARTS):
        unit = p * PART + at
        parts = parts + (tl.load(array + unit * stride, mask=unit < n, other=0.0).to(NUMBER),)
    return parts


@triton.jit
def weights_of(
    weight, bias, at, n, FEATURES: tl.constexpr, PARTS: tl.constexpr, PART: tl.constexpr, NUMBER: tl.constexpr
):
    """Return the parts of b and of each column of M (n, FEATURES), one after another."""
    parts = vectors_of(bias, at, n, 1, PARTS, PART, NUMBER)
    for f in tl.static_range(FEATURES):
        parts = parts + vectors_of(weight + f, at, n, FEATURES, PARTS, PART, NUMBER)
    return parts


@triton.jit
def load_features(x, first, batch, more, ROWS: tl.constexpr, FEATURES: tl.constexpr, NUMBER: tl.constexpr):
    """Return the numbers of one step of x (B, FEATURES), row by row, 0 where ``more`` is false."""
    numbers = ()
    for row in tl.static_range(ROWS):
        for f in tl.static_range(FEATURES):
            here = (first + row < batch) & more
            numbers = numbers + (tl.load(x + (first + row) * FEATURES + f, mask=here, other=0.0).to(NUMBER),)
    return numbers


@triton.jit
def project(weights, x, ROWS: tl.constexpr, FEATURES: tl.constexpr, PARTS: tl.constexpr):
    """Return M x + b for each row, in parts."""
    parts = ()
    for row in tl.static_range(ROWS):
        for p in tl.static_range(PARTS):
            z = weights[p]
            for f in tl.static_range(FEATURES):
                z = z + weights[(1 + f) * PARTS + p] * x[row * FEATURES + f]
            parts = parts + (z,)
    return parts


@triton.jit
def load_input(
    x,
    first,
    batch,
    n,
    more,
    units,
    ROWS: tl.constexpr,
    FEATURES: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    NUMBER: tl.constexpr,
):
    """Return one step of x (B, FEATURES), or, without features, of z (B, n) in parts."""
    if FEATURES > 0:
        return load_features(x, first, batch, more, ROWS, FEATURES, NUMBER)
    else:
        return load_step(x, first, batch, n, more, units, ROWS, PART, PARTS, NUMBER)


@triton.jit
def forward(
    x,
    h0,
    offset,
    weight,
    bias,
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
    UNROLLED: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    FEATURES: tl.constexpr,
    DEPTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
):
    """Run forward through time; the grid is (row groups, trials).

    Reads x (K, T, B, FEATURES), M (K, n, FEATURES) and b (K, n), or z (K, T, B, n) if FEATURES is 0; h0 (K, B, n), the
    offset of modReLU (K, n) and the tiles of W. Writes the states (K, T, B, n). ``exchange`` has 2 ROWS WIDTH numbers
    for each program.
    """
    first, trial = tl.program_id(0).to(tl.int64) * ROWS, tl.program_id(1).to(tl.int64)
    units, columns = tl.arange(0, PART), tl.arange(0, BLOCK)
    tile = units[:, None] * BLOCK + columns[None, :]
    spread, single = spread_units(BLOCK, PART)
    packed += trial * BLOCKS * PARTS * PART * BLOCK
    exchange += (trial * tl.num_programs(0) + tl.program_id(0)) * 2 * ROWS * WIDTH
    step = batch * n
    x_step = batch * FEATURES if FEATURES > 0 else step
    x += trial * steps * x_step
    COUNT: tl.constexpr = ROWS * (FEATURES if FEATURES > 0 else PARTS)
    states += trial * steps * step
    held = tiles_of(packed, tile, BLOCK, HELD, PART, PARTS)
    if ACTIVATION == "modrelu":
        moved = vectors_of(offset + trial * n, units, n, 1, PARTS, PART, NUMBER)
    if FEATURES > 0:
        weights = weights_of(weight + trial * n * FEATURES, bias + trial * n, units, n, FEATURES, PARTS, PART, NUMBER)
    start = load_step(h0 + trial * step, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
    for row in tl.static_range(ROWS):
        for p in tl.static_range(PARTS):
            tl.store(exchange + row * WIDTH + p * PART + spread, start[row * PARTS + p][:, None], mask=single)
    tl.debug_barrier()
    waiting = ()
    for u in tl.static_range(DEPTH):
        waiting = waiting + load_input(
            x + u * x_step, first, batch, n, u < steps, units, ROWS, FEATURES, PART, PARTS, NUMBER
        )
    for begin in range(0, steps, DEPTH):
        later = ()
        x += DEPTH * x_step
        for u in tl.static_range(DEPTH):
            given = waiting[u * COUNT : (u + 1) * COUNT]
            if FEATURES > 0:
                given = project(weights, given, ROWS, FEATURES, PARTS)
            before, after = exchange + (u % 2) * ROWS * WIDTH, exchange + ((u + 1) % 2) * ROWS * WIDTH
            sums = product(packed, held, before, tile, columns, ROWS, BLOCK, BLOCKS, HELD, UNROLLED, PART, PARTS, WIDTH)
            for row in tl.static_range(ROWS):
                for p in tl.static_range(PARTS):
                    at = p * PART + spread
                    h = given[row * PARTS + p] + sums[row * PARTS + p]
                    if ACTIVATION == "modrelu":
                        h = phi(h, moved[p], ACTIVATION, SLOPE)
                    else:
                        h = phi(h, h, ACTIVATION, SLOPE)
                    h = tl.where(p * PART + units < n, h, 0.0)[:, None]
                    tl.store(after + row * WIDTH + at, h, mask=single)
                    here = single & (at < n) & (first + row < batch) & (begin + u < steps)
                    tl.store(states + (first + row) * n + at, h.to(states.dtype.element_ty), mask=here)
            states += step
            # Loaded only now, so that the numbers can go where those of this step were: a copy would wait for them.
            later = later + load_input(
                x + u * x_step, first, batch, n, begin + u + DEPTH < steps, units, ROWS, FEATURES, PART, PARTS, NUMBER
            )
            tl.debug_barrier()
        waiting = later


@triton.jit
def zeros(COUNT: tl.constexpr, PART: tl.constexpr, NUMBER: tl.constexpr):
    """Return so many parts of zeros."""
    parts = ()
    for _ in tl.static_range(COUNT):
        parts = parts + (tl.zeros((PART,), NUMBER),)
    return parts


@triton.jit
def add_step(added, delta, x, ROWS: tl.constexpr, FEATURES: tl.constexpr, PARTS: tl.constexpr):
    """Return the sums over rows and steps of delta, and of delta times each feature of x, with one step more."""
    longer = ()
    for f in tl.static_range(1 + FEATURES):
        for p in tl.static_range(PARTS):
            total = added[f * PARTS + p]
            for row in tl.static_range(ROWS):
                if f == 0:
                    total = total + delta[row * PARTS + p]
                else:
                    total = total + delta[row * PARTS + p] * x[row * FEATURES + f - 1]
            longer = longer + (total,)
    return longer


@triton.jit
def backward(
    grad,
    grad_last,
    states,
    x,
    packed,
    delta,
    grad_h0,
    sums,
    exchange,
    steps,
    batch,
    n,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCKS: tl.constexpr,
    HELD: tl.constexpr,
    UNROLLED: tl.constexpr,
    PART: tl.constexpr,
    PARTS: tl.constexpr,
    WIDTH: tl.constexpr,
    FEATURES: tl.constexpr,
    DEPTH: tl.constexpr,
    ACTIVATION: tl.constexpr,
    SLOPE: tl.constexpr,
    NUMBER: tl.constexpr,
    HAS_GRAD: tl.constexpr,
    HAS_LAST: tl.constexpr,
):
    """Run backward through time; the grid is (row groups, trials).

    Reads the gradients of the states (K, T, B, n) and of the last state (K, B, n), as far as they exist, the states and
    the tiles of the transpose of W. Writes delta (K, T, B, n) and grad_h0 (K, B, n). With FEATURES it also reads x
    (K, T, B, FEATURES) and writes each program's part of the gradients of b and of the columns of M to sums
    (K, row groups, 1 + FEATURES, n).
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
    x_step = batch * FEATURES
    x += (trial * steps + steps - 1) * x_step
    held = tiles_of(packed, tile, BLOCK, HELD, PART, PARTS)
    if HAS_LAST:
        carried = load_step(grad_last + trial * step, first, batch, n, True, units, ROWS, PART, PARTS, NUMBER)
    else:
        carried = zeros(ROWS * PARTS, PART, NUMBER)
    if FEATURES > 0:
        added = zeros((1 + FEATURES) * PARTS, PART, NUMBER)
    # What a step needs, DEPTH steps ahead, in the order of time backward.
    waiting_h, waiting_g, waiting_x = (), (), ()
    for u in tl.static_range(DEPTH):
        more = u < steps
        waiting_h = waiting_h + load_step(states - u * step, first, batch, n, more, units, ROWS, PART, PARTS, NUMBER)
        if HAS_GRAD:
            waiting_g = waiting_g + load_step(grad - u * step, first, batch, n, more, units, ROWS, PART, PARTS, NUMBER)
        waiting_x = waiting_x + load_features(x - u * x_step, first, batch, more, ROWS, FEATURES, NUMBER)
    for begin in range(0, steps, DEPTH):
        states -= DEPTH * step
        x -= DEPTH * x_step
        if HAS_GRAD:
            grad -= DEPTH * step
        later_h, later_g, later_x = (), (), ()
        for u in tl.static_range(DEPTH):
            here_now, more = begin + u < steps, begin + u + DEPTH < steps
            passed = exchange + (u % 2) * ROWS * WIDTH
            passed_on = ()
            for row in tl.static_range(ROWS):
                for p in tl.static_range(PARTS):
                    at = p * PART + spread
                    d = carried[row * PARTS + p]
                    if HAS_GRAD:
                        d += waiting_g[(u * ROWS + row) * PARTS + p]
                    d = descend(d, waiting_h[(u * ROWS + row) * PARTS + p], ACTIVATION, SLOPE)
                    d = tl.where((p * PART + units < n) & here_now, d, 0.0)
                    passed_on = passed_on + (d,)
                    tl.store(passed + row * WIDTH + at, d[:, None], mask=single)
                    here = single & (at < n) & (first + row < batch) & here_now
                    tl.store(delta + (first + row) * n + at, d[:, None].to(delta.dtype.element_ty), mask=here)
            delta -= step
            if FEATURES > 0:
                features = waiting_x[u * ROWS * FEATURES : (u + 1) * ROWS * FEATURES]
                added = add_step(added, passed_on, features, ROWS, FEATURES, PARTS)
            # Loaded only now, so that the numbers can go where those of this step were: a copy would wait for them.
            later_h = later_h + load_step(states - u * step, first, batch, n, more, units, ROWS, PART, PARTS, NUMBER)
            if HAS_GRAD:
                later_g = later_g + load_step(grad - u * step, first, batch, n, more, units, ROWS, PART, PARTS, NUMBER)
            later_x = later_x + load_features(x - u * x_step, first, batch, more, ROWS, FEATURES, NUMBER)
            tl.debug_barrier()
            through = product(
                packed, held, passed, tile, columns, ROWS, BLOCK, BLOCKS, HELD, UNROLLED, PART, PARTS, WIDTH
            )
            both = ()
            for i in tl.static_range(ROWS * PARTS):
                both = both + (tl.where(here_now, through[i], carried[i]),)
            carried = both
        waiting_h, waiting_g, waiting_x = later_h, later_g, later_x
    for row in tl.static_range(ROWS):
        for p in tl.static_range(PARTS):
            at = p * PART + spread
            here = single & (at < n) & (first + row < batch)
            own = trial * step + (first + row) * n + at
            tl.store(grad_h0 + own, carried[row * PARTS + p][:, None].to(grad_h0.dtype.element_ty), mask=here)
    if FEATURES > 0:
        sums += (trial * tl.num_programs(0) + tl.program_id(0)) * (1 + FEATURES) * n
        for i in tl.static_range((1 + FEATURES) * PARTS):
            at = (i % PARTS) * PART + units
            tl.store(sums + (i // PARTS) * n + at, added[i], mask=at < n)
