# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; fused.py imports this file if it is installed)
"""Triton kernels of a training step: batches, the loss with its gradient, clipping, the optimisers.

A program works on one trial alone, and sums in one order, so that no trial's numbers depend on those of another.
"""

import triton
import triton.language as tl


@triton.jit
def gather(
    data, order, at, out, trials, batch, row, steps, width, SWAP: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr
):
    """Copy rows of ``data`` (N, row) to the places of a batch.

    The row for place b of trial k is order[at, k, b]; ``order`` has shape (S, K, B). With ``SWAP`` a row is (T, I) and
    ``out`` is (K, T, B, I); else ``out`` is (K, B, row). The grid is (blocks of a row, blocks of places, trials).
    """
    trial = tl.program_id(2).to(tl.int64)
    place = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    entry = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = place < batch
    both = here[:, None] & (entry < row)[None, :]
    found = tl.load(order + (tl.load(at) * trials + trial) * batch + place, mask=here, other=0)
    values = tl.load(data + found[:, None] * row + entry[None, :], mask=both)
    if SWAP:
        step, feature = entry // width, entry % width
        target = (step * batch * width + feature)[None, :] + (place * width)[:, None]
        tl.store(out + trial * batch * row + target, values, mask=both)
    else:
        tl.store(out + (trial * batch + place)[:, None] * row + entry[None, :], values, mask=both)


@triton.jit
def cross_entropy(
    outputs, targets, counts, losses, slopes, rows, classes, MASKED: tl.constexpr, COUNTED: tl.constexpr,
    ROWS: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    """Compute parts of a trial's mean loss, and its gradient; the grid is (blocks of rows, trials).

    Outputs and ``slopes`` have shape (K, rows, classes), targets (K, rows), ``losses`` (K, blocks). The mean is over
    all rows, or with ``COUNTED`` over ``counts`` (K), the rows that have a target.
    """
    trial = tl.program_id(1).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, CLASSES)
    here = row < rows
    target = tl.load(targets + trial * rows + row, mask=here, other=MASKED)
    valid = target != MASKED
    places = (trial * rows + row)[:, None] * classes + column[None, :]
    both = here[:, None] & (column < classes)[None, :]
    x = tl.load(outputs + places, mask=both, other=-1e38)
    x = x - tl.max(x, 1)[:, None]
    power = tl.exp(x)
    total = tl.sum(power, 1)
    is_target = column[None, :] == target[:, None]
    loss = tl.log(total) - tl.sum(tl.where(is_target, x, 0.0), 1)
    share = 1.0 / (rows * 1.0)
    if COUNTED:
        share = 1.0 / tl.maximum(tl.load(counts + trial), 1).to(tl.float32)
    part = tl.sum(tl.where(valid, loss, 0.0), 0) * share
    tl.store(losses + trial * tl.num_programs(0) + tl.program_id(0), part)
    slope = tl.div_rn(power, total[:, None] + 0.0 * power) - tl.where(is_target, 1.0, 0.0)
    tl.store(slopes + places, tl.where(valid[:, None], slope * share, 0.0), mask=both)


@triton.jit
def squared_error(outputs, targets, counts, losses, slopes, size, COUNTED: tl.constexpr, BLOCK: tl.constexpr):
    """Compute parts of a trial's mean squared error, and its gradient; the grid is (blocks, trials).

    Outputs, targets and ``slopes`` have shape (K, size), ``losses`` (K, blocks). The mean is over all numbers, or with
    ``COUNTED`` over ``counts`` (K), those that have a target, which the others mark by NaN.
    """
    trial = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = at < size
    target = tl.load(targets + trial * size + at, mask=here, other=0.0)
    away = tl.load(outputs + trial * size + at, mask=here, other=0.0) - target
    if COUNTED:
        away = tl.where(target == target, away, 0.0)
        share = 1.0 / tl.maximum(tl.load(counts + trial), 1).to(tl.float32)
    else:
        share = 1.0 / (size * 1.0)
    tl.store(losses + trial * tl.num_programs(0) + tl.program_id(0), tl.sum(away * away, 0) * share)
    tl.store(slopes + trial * size + at, 2 * away * share, mask=here)


@triton.jit
def squares(gradients, chunks, parts, BLOCK: tl.constexpr):
    """Sum the squares of each chunk of the gradients; the grid is (chunks, trials), ``parts`` (K, chunks).

    A chunk is (start among the parameters of the first trial, start among its gradients, distance to the next trial,
    length, number of its parameter).
    """
    chunk, trial = tl.program_id(0), tl.program_id(1).to(tl.int64)
    start = tl.load(chunks + 5 * chunk + 1) + trial * tl.load(chunks + 5 * chunk + 2)
    at = tl.arange(0, BLOCK)
    g = tl.load(gradients + start + at, mask=at < tl.load(chunks + 5 * chunk + 3), other=0.0)
    tl.store(parts + trial * tl.num_programs(0) + chunk, tl.sum(g * g, 0))


@triton.jit
def total(parts, size, BLOCK: tl.constexpr):
    """Return the sum of ``size`` float32 parts in float64."""
    sums = tl.zeros([BLOCK], tl.float64)
    for first in range(0, size, BLOCK):
        at = first + tl.arange(0, BLOCK)
        sums += tl.load(parts + at, mask=at < size, other=0.0).to(tl.float64)
    return tl.sum(sums, 0)


@triton.jit
def prepare(
    parts, chunks, losses, loss_parts, reals, wholes, place, steps, loss_sum, bad_step, bad_loss, bad_norm, scalars,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute what the update of a trial needs, and keep its records; the grid is (trials).

    ``reals`` (K, 6) has the limit of the norm, log beta1 and log beta2 of Adam, 1 for a cosine schedule, its steps,
    and the logarithm of a fall. ``wholes`` (K, 3) has the steps of the warm-up, and the falls of the rate and the steps
    in which they happen. ``scalars`` (K, 4) gets the factors of the gradient and of the rates, and Adam's 1 - beta1^t
    and sqrt(1 - beta2^t). ``place`` is the counter of the feed, which the program of the first trial moves on.
    """
    trial = tl.program_id(0).to(tl.int64)
    norm = tl.sqrt(total(parts + trial * chunks, chunks, BLOCK)).to(tl.float32)
    loss = total(losses + trial * loss_parts, loss_parts, BLOCK).to(tl.float32).to(tl.float64)
    limit = tl.load(reals + trial * 6).to(tl.float32)
    clip = limit / (norm + 1e-6)
    clip = tl.where(clip > 1.0, 1.0, clip)  # NaN stays NaN
    clip = tl.where(limit == float("inf"), 1.0, clip)
    step = tl.load(steps + trial)
    warmup = tl.load(wholes + trial * 3)
    after = tl.maximum(step - warmup, 0).to(tl.float64)
    cosine = (1.0 + tl.cos(after / tl.load(reals + trial * 6 + 4) * 3.141592653589793)) / 2.0
    factor = tl.where(tl.load(reals + trial * 6 + 3) > 0.0, cosine, 1.0)
    fallen = step * tl.load(wholes + trial * 3 + 1) // tl.load(wholes + trial * 3 + 2)
    factor = factor * tl.exp(tl.load(reals + trial * 6 + 5) * fallen.to(tl.float64))
    rising = (step + 1).to(tl.float64) / tl.maximum(warmup, 1).to(tl.float64)
    factor = factor * tl.where(rising < 1.0, rising, 1.0)
    now = step + 1
    tl.store(steps + trial, now)
    tl.store(place, tl.load(place) + 1, mask=trial == 0)
    first = 1.0 - tl.exp(tl.load(reals + trial * 6 + 1) * now.to(tl.float64))
    second = 1.0 - tl.exp(tl.load(reals + trial * 6 + 2) * now.to(tl.float64))
    tl.store(scalars + trial * 4, clip.to(tl.float64))
    tl.store(scalars + trial * 4 + 1, factor)
    tl.store(scalars + trial * 4 + 2, first)
    tl.store(scalars + trial * 4 + 3, tl.sqrt(second))
    tl.store(loss_sum + trial, tl.load(loss_sum + trial) + loss)
    finite = (tl.abs(loss) < float("inf")) & (tl.abs(norm) < float("inf"))  # false for NaN too
    bad = (~finite) & (tl.load(bad_step + trial) == 0)
    tl.store(bad_step + trial, now, mask=bad)
    tl.store(bad_loss + trial, loss, mask=bad)
    tl.store(bad_norm + trial, norm.to(tl.float64), mask=bad)


@triton.jit
def lerp(start, end, weight):
    """Return start + weight (end - start), as torch rounds it."""
    return tl.where(weight < 0.5, start + weight * (end - start), end - (end - start) * (1.0 - weight))


@triton.jit
def update(
    parameters, gradients, first, second, chunks, scalars, rates, decays, numbers, EPS: tl.constexpr,
    METHOD: tl.constexpr, DECOUPLED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Update one chunk of the parameters of a trial; the grid is (chunks, trials), chunks are those of ``squares``.

    ``rates`` (P, K) are the full rates in float64, ``decays`` (P, K) the weight decay of each parameter, ``numbers``
    (K, 2) the constants of the method: 1 - beta1 and 1 - beta2; 1 - alpha and the momentum; or the momentum alone.
    """
    chunk, trial, trials = tl.program_id(0), tl.program_id(1).to(tl.int64), tl.num_programs(1)
    further = trial * tl.load(chunks + 5 * chunk + 2)
    at = tl.arange(0, BLOCK)
    here, places = at < tl.load(chunks + 5 * chunk + 3), tl.load(chunks + 5 * chunk) + further + at
    own = tl.load(chunks + 5 * chunk + 4) * trials + trial
    rate = tl.load(rates + own) * tl.load(scalars + trial * 4 + 1)
    decay = tl.load(decays + own)
    p = tl.load(parameters + places, mask=here, other=0.0)
    g = tl.load(gradients + tl.load(chunks + 5 * chunk + 1) + further + at, mask=here, other=0.0)
    g = g * tl.load(scalars + trial * 4).to(tl.float32)
    if DECOUPLED:
        p = p * (1.0 - rate * decay.to(tl.float64)).to(tl.float32)
    else:
        g = g + p * decay
    one, two = tl.load(numbers + trial * 2), tl.load(numbers + trial * 2 + 1)
    m = tl.load(first + places, mask=here, other=0.0)
    if METHOD == "adam":
        v = tl.load(second + places, mask=here, other=0.0)
        m, v = lerp(m, g, one), lerp(v, g * g, two)
        root = tl.div_rn(tl.sqrt_rn(v), tl.load(scalars + trial * 4 + 3).to(tl.float32) + 0.0 * v) + EPS
        p = p - tl.div_rn(m * (rate / tl.load(scalars + trial * 4 + 2)).to(tl.float32), root)
        tl.store(second + places, v, mask=here)
    elif METHOD == "rmsprop":
        buffer = tl.load(second + places, mask=here, other=0.0)
        m = lerp(m, g * g, one)
        buffer = buffer * two + tl.div_rn(g, tl.sqrt_rn(m) + EPS)
        p = p - buffer * rate.to(tl.float32)
        tl.store(second + places, buffer, mask=here)
    else:
        m = m * one + g
        p = p - m * rate.to(tl.float32)
    tl.store(first + places, m, mask=here)
    tl.store(parameters + places, p, mask=here)
