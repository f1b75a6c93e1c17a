# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; device_draws.py imports this file if it is there)
"""Triton kernels that draw sequences with the numbers of numpy's generator PCG64."""

import triton
import triton.language as tl


@triton.jit
def word(pointer):
    """Return 64 bits without a sign."""
    return tl.load(pointer).to(tl.uint64, bitcast=True)


@triton.jit
def product(a_high, a_low, b_high, b_low):
    """Return the lower 128 bits of a product of two numbers of 128 bits, as two words."""
    return tl.umulhi(a_low, b_low) + a_high * b_low + a_low * b_high, a_low * b_low


@triton.jit
def jump(table, at, high, low, step_high, step_low):
    """Return the state of the generator after the steps of row ``at`` of a table of (A, C): A state + C step."""
    first_high, first_low = product(word(table + 4 * at), word(table + 4 * at + 1), high, low)
    second_high, second_low = product(word(table + 4 * at + 2), word(table + 4 * at + 3), step_high, step_low)
    sum_low = first_low + second_low
    return first_high + second_high + (sum_low < first_low).to(tl.uint64), sum_low


@triton.jit
def place(out, first, second, value, entry, size, batch, length):
    """Store a value and its marker; ``entry`` counts values sequence after sequence, ``out`` is (T, B, 2)."""
    here = entry < size
    row, step = entry // length, entry % length
    marked = (step == tl.load(first + row, mask=here, other=0)) | (step == tl.load(second + row, mask=here, other=0))
    target = out + (step * batch + row) * 2
    tl.store(target, value, mask=here)
    tl.store(target + 1, marked.to(tl.float32), mask=here)


@triton.jit
def adding(streams, firsts, seconds, at, out, trials, batch, length, lanes, blocks, BLOCK: tl.constexpr):
    """Draw the inputs (K, T, B, 2) of the adding problem; the grid is (blocks of BLOCK words, trials).

    ``streams`` (S, K, 4) has the state and the step of each trial's generator. A word of 64 bits makes two values, of
    its lower and of its upper half.
    """
    trial = tl.program_id(1).to(tl.int64)
    own = tl.load(at) * trials + trial
    stream, lane = streams + 4 * own, tl.arange(0, BLOCK)
    step_high, step_low = word(stream + 2), word(stream + 3)
    high, low = jump(blocks, tl.program_id(0), word(stream), word(stream + 1), step_high, step_low)
    high, low = jump(lanes, lane, high, low, step_high, step_low)
    mixed, turn = high ^ low, high >> 58
    mixed = (mixed >> turn) | (mixed << ((64 - turn) & 63))
    even = ((mixed & 0xFFFFFFFF) >> 8).to(tl.int32).to(tl.float32) * (1.0 / 16777216.0)
    odd = (mixed >> 40).to(tl.int32).to(tl.float32) * (1.0 / 16777216.0)
    size = (batch * length).to(tl.int64)
    entry = (tl.program_id(0).to(tl.int64) * BLOCK + lane) * 2
    out += trial * size * 2
    place(out, firsts + own * batch, seconds + own * batch, even, entry, size, batch, length)
    place(out, firsts + own * batch, seconds + own * batch, odd, entry + 1, size, batch, length)


@triton.jit
def adding_targets(inputs, firsts, seconds, at, targets, trials, batch, length, ROWS: tl.constexpr):
    """Add the marked values of inputs (K, T, B, 2) into ``targets`` (K, B); the grid is (blocks of rows, trials)."""
    trial = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here, own = row < batch, (tl.load(at) * trials + trial) * batch + row
    values = inputs + (trial * length * batch + row) * 2
    first = tl.load(values + tl.load(firsts + own, mask=here, other=0) * batch * 2, mask=here)
    second = tl.load(values + tl.load(seconds + own, mask=here, other=0) * batch * 2, mask=here)
    tl.store(targets + trial * batch + row, first + second, mask=here)


@triton.jit
def copying(
    symbols, at, inputs, targets, trials, batch, steps, COPIED: tl.constexpr, BLANK: tl.constexpr,
    DELIMITER: tl.constexpr, CHANNELS: tl.constexpr, PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Make inputs (K, T, B, CHANNELS) and targets (K, B, T) of the copy task from its symbols (S, K, B, COPIED)."""
    trial = tl.program_id(1).to(tl.int64)
    entry = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    step, row = entry // batch, entry % batch
    here = step < steps
    own = symbols + ((tl.load(at) * trials + trial) * batch + row) * COPIED
    shown = tl.load(own + step, mask=here & (step < COPIED), other=BLANK)
    shown = tl.where(step == steps - COPIED - 1, DELIMITER, shown)
    last = step - (steps - COPIED)
    target = tl.load(own + last, mask=here & (last >= 0), other=BLANK)
    tl.store(targets + trial * batch * steps + row * steps + step, target, mask=here)
    channel = tl.arange(0, PADDED)
    one_hot = (channel[None, :] == shown[:, None]).to(tl.float32)
    spots = (trial * batch * steps + entry)[:, None] * CHANNELS + channel[None, :]
    tl.store(inputs + spots, one_hot, mask=here[:, None] & (channel < CHANNELS)[None, :])
