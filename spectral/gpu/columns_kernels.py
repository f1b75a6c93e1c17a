# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; device.py imports this file if it is installed)
"""Triton kernels of what is computed for each singular value and for each reflector by itself."""

import triton
import triton.language as tl

from spectral.gpu.factors_kernels import root


@triton.jit
def quotient(x, y):
    """Return x / y, rounded to the nearest number."""
    if x.dtype == tl.float64:
        return x / y
    else:
        return tl.div_rn(x, y)


@triton.jit
def exponential(x):
    """Return e^x for x <= 0, to about one unit in the last place; 0 for -infinity and NaN for NaN.

    Triton's own exponential of a float32 multiplies by log2(e) first, which costs |x| roundings of the result.
    """
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        x = tl.where(x < -110.0, -110.0, x)  # e^-104 is already 0
        whole = tl.floor(x * 1.4426950408889634 + 0.5)
        rest = tl.fma(whole, -0.693359375, x)
        rest = tl.fma(whole, 2.12194440e-4, rest)
        power = rest * 0.0 + 1.0 / 5040
        power = tl.fma(power, rest, 1.0 / 720)
        power = tl.fma(power, rest, 1.0 / 120)
        power = tl.fma(power, rest, 1.0 / 24)
        power = tl.fma(power, rest, 1.0 / 6)
        power = tl.fma(power, rest, 0.5)
        power = tl.fma(power, rest, 1.0)
        power = tl.fma(power, rest, 1.0)
        # 2^whole in two steps, since numbers below 2^-126 have no exponent of their own.
        exponent = tl.where(whole == whole, whole, 0.0).to(tl.int32)
        half = exponent // 2
        first = ((half + 127) << 23).to(tl.float32, bitcast=True)
        return power * first * ((exponent - half + 127) << 23).to(tl.float32, bitcast=True)


@triton.jit
def singular_map(
    raw, centre, low, high, width, start, share, values, size, step, KIND: tl.constexpr, BLOCK: tl.constexpr
):
    """Map raw singular values (rows, size) into their bands; ``step`` is 0 if all rows have one band, else 1.

    The grid is (rows, blocks). The formulas are those of ``spectral.singular_values``.
    """
    row, at = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here, band = at < size, row * step
    p = tl.load(raw + row * size + at, mask=here, other=0.0)
    if KIND == "sigmoid":
        below = p < 0
        e = exponential(tl.where(below, p, -p))
        left = quotient(e, 1 + e) - tl.load(share + band)
        first, wide = tl.load(start + band), tl.load(width + band)
        edge = tl.load(centre + band) + tl.where(below, first, -first)
        result = edge + left * tl.where(below, wide, -wide)
    else:
        least, most = tl.load(low + band), tl.load(high + band)
        result = tl.where(p < least, least, tl.where(p > most, most, p))
    tl.store(values + row * size + at, result, mask=here)


@triton.jit
def singular_map_backward(grad, raw, low, high, width, grad_raw, size, step, KIND: tl.constexpr, BLOCK: tl.constexpr):
    """Form the gradient of raw singular values from that of the mapped ones; arguments as above."""
    row, at = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    here, band = at < size, row * step
    p = tl.load(raw + row * size + at, mask=here, other=0.0)
    g = tl.load(grad + row * size + at, mask=here, other=0.0)
    if KIND == "sigmoid":
        e = exponential(tl.where(p < 0, p, -p))
        result = g * tl.load(width + band) * quotient(e, 1 + e) / (1 + e)
    else:
        least, most = tl.load(low + band), tl.load(high + band)
        leaves_further = ((p > most) & (g < 0)) | ((p < least) & (g > 0))
        result = tl.where(leaves_further, 0.0, g)
    tl.store(grad_raw + row * size + at, result, mask=here)


@triton.jit
def normalize(raws, sizes, COUNT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, NUMBER: tl.constexpr):
    """Scale every column of several arrays (trials, n, m) to length 1, in place; a zero column stays zero.

    The grid is (columns of all trials of the largest array / COLUMNS, arrays). ``sizes`` holds (trials, n, m) of each.
    """
    for k in tl.static_range(COUNT):
        if tl.program_id(1) == k:
            trials, n, m = sizes[k]
            blocks = tl.cdiv(m, COLUMNS)
            trial = tl.program_id(0) // blocks
            if trial < trials:
                raw = raws[k] + trial.to(tl.int64) * n * m
                columns = (tl.program_id(0) % blocks * COLUMNS + tl.arange(0, COLUMNS))[None, :]
                _normalize_columns(raw, columns, n, m, ROWS, COLUMNS, NUMBER)


@triton.jit
def _normalize_columns(raw, columns, n, m, ROWS: tl.constexpr, COLUMNS: tl.constexpr, NUMBER: tl.constexpr):
    most = tl.zeros((ROWS, COLUMNS), NUMBER)
    squares = most
    for first in range(0, n, ROWS):
        rows = first + tl.arange(0, ROWS)[:, None]
        x = tl.load(raw + rows * m + columns, mask=(rows < n) & (columns < m), other=0.0).to(NUMBER)
        most = tl.maximum(most, tl.abs(x))
    largest = tl.max(most, 0)
    largest = tl.where(largest == 0, float("inf"), largest)[None, :]
    for first in range(0, n, ROWS):
        rows = first + tl.arange(0, ROWS)[:, None]
        x = tl.load(raw + rows * m + columns, mask=(rows < n) & (columns < m), other=0.0).to(NUMBER) / largest
        squares += x * x
    square = tl.sum(squares, 0)
    length = root(tl.where(square < 1, 1.0, square))[None, :]
    for first in range(0, n, ROWS):
        rows = first + tl.arange(0, ROWS)[:, None]
        at, here = raw + rows * m + columns, (rows < n) & (columns < m)
        x = tl.load(at, mask=here, other=0.0).to(NUMBER) / largest / length
        tl.store(at, x.to(raw.dtype.element_ty), mask=here)
