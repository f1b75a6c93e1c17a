# mypy: ignore-errors
# (Triton's language is not typed Python, and its package is optional; device.py imports this file if it is installed)
"""Triton kernels of the transition's factors and of their gradients; see README.md in this folder for the formulas.

Names follow the README: u and v are raw reflectors, Yu and Yv their unit columns, S the singular values, Tu and Tv the
triangular matrices of the WY forms. M is the number of columns of u and of v, padded to one power of two with zeros.
A program sums over all n rows, ROWS at a time, and then writes its own rows. Products are sums in one fixed order, and
zero columns add exact zeros to them.
"""

import triton
import triton.language as tl


@triton.jit
def root(x):
    """Return the square root, rounded to the nearest number."""
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.sqrt_rn(x)


@triton.jit
def product(x, y):
    """Return x y in the precision of x, with plain sums in place of tensor cores."""
    return tl.dot(x, y, input_precision="ieee", out_dtype=x.dtype)


@triton.jit
def split_rows(first, ROWS: tl.constexpr, SPLIT: tl.constexpr):
    """Return the numbers of ROWS rows from ``first``, shape (SPLIT, ROWS / SPLIT, 1)."""
    part: tl.constexpr = ROWS // SPLIT
    return first + tl.arange(0, SPLIT)[:, None, None] * part + tl.arange(0, part)[None, :, None]


@triton.jit
def trapezoid(raw, rows, columns, n, m):
    """Load rows and columns of raw reflectors (n, m), zero above the diagonal and outside."""
    return tl.load(raw + rows * m + columns, mask=(rows < n) & (columns < m) & (rows >= columns), other=0.0)


@triton.jit
def entries(matrix, rows, columns, n, start, m, width):
    """Load columns ``start`` to ``start + m`` of an array (n, width), zero outside."""
    return tl.load(matrix + rows * width + start + columns, mask=(rows < n) & (columns < m), other=0.0)


@triton.jit
def largest_of(u, v, n, m1, m2, M: tl.constexpr):
    """Return the largest absolute value of each column of u and of v, two vectors (M); infinity for zero columns.

    As many rows are read at a time as a program can hold, since this pass waits for the memory alone.
    """
    SCAN: tl.constexpr = 4096 // M
    rows, columns = tl.arange(0, SCAN)[:, None], tl.arange(0, M)[None, :]
    most_u = tl.zeros((SCAN, M), u.dtype.element_ty)
    most_v = most_u
    for first in range(0, n, SCAN):
        most_u = tl.maximum(most_u, tl.abs(trapezoid(u, first + rows, columns, n, m1)))
        most_v = tl.maximum(most_v, tl.abs(trapezoid(v, first + rows, columns, n, m2)))
    largest_u, largest_v = tl.max(most_u, 0), tl.max(most_v, 0)
    return tl.where(largest_u == 0, float("inf"), largest_u), tl.where(largest_v == 0, float("inf"), largest_v)


@triton.jit
def diagonal(matrix, i, j, axis: tl.constexpr):
    """Return the diagonal, as a vector over rows (axis 1) or over columns (axis 0)."""
    return tl.sum(tl.where(i == j, matrix, 0.0), axis)


@triton.jit
def length_of(square):
    """Return the length of a column whose largest entry is 1; 1 for a zero column, and NaN for one with NaN."""
    return root(tl.where(square < 1, 1.0, square))


@triton.jit
def half_square(square):
    """Return half the squared length of a unit column: 1/2, or 1 for a zero column, or NaN."""
    length = length_of(square)
    return tl.where(square == 0, 1.0, 0.5 * (square / length / length))


@triton.jit
def stacked(x, y):
    """Return two matrices as one array, shape (2, M, M)."""
    return tl.permute(tl.join(x, y), (2, 0, 1))


@triton.jit
def unstacked(both):
    """Return the two matrices of ``stacked``."""
    return tl.split(tl.permute(both, (1, 2, 0)))


@triton.jit
def inverse(upper, diagonal_inverse, M: tl.constexpr, LEVELS: tl.constexpr):
    """Return the inverses of two upper triangular matrices, (2, M, M), by halves: M = 2^LEVELS.

    With the inverses of two diagonal blocks in T and the block above them in B, T - T B T has that of both together. It
    is as stable as substitution, and takes LEVELS steps in place of M. Entries of ``upper`` on and below the diagonal
    are not read; ``diagonal_inverse`` holds the inverses of the diagonals as matrices, (2, M, M).
    """
    i, j = tl.arange(0, M)[None, :, None], tl.arange(0, M)[None, None, :]
    t = diagonal_inverse
    for level in range(LEVELS):
        row, column = i >> level, j >> level
        between = (row % 2 == 0) & (column == row + 1)
        t -= product(product(t, tl.where(between, upper, 0.0)), t)
    return t


@triton.jit(do_not_specialize=["n", "own"])
def factors(
    sigma,
    u,
    v,
    a,
    c,
    small,
    n,
    m1,
    m2,
    own,
    M: tl.constexpr,
    LEVELS: tl.constexpr,
    ROWS: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """Form A and C (n, m1 + m2) of each trial from sigma (n), u (n, m1), v (n, m2); the grid is (trials, blocks).

    A program writes ``own`` rows of A and C. The first one also writes ``small`` (7, M, M), for the backward pass: Tu,
    Tv, Yu^T Yu, Yv^T Yv, Yu^T S Yv, Tu Yu^T S Yv, and four vectors in the first rows of the last: the largest entries
    of u, one over the lengths of its columns after division by them, and both of v.
    """
    trial, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    r = m1 + m2
    sigma += trial * n
    u += trial * n * m1
    v += trial * n * m2
    a += trial * n * r
    c += trial * n * r
    i, j = tl.arange(0, M)[:, None], tl.arange(0, M)[None, :]
    columns = tl.arange(0, M)
    largest_u, largest_v = largest_of(u, v, n, m1, m2, M)

    sum_u = tl.zeros((SPLIT, M, M), u.dtype.element_ty)
    sum_v, sum_uv = sum_u, sum_u
    for first in range(0, n, ROWS):
        rows, wide = split_rows(first, ROWS, SPLIT), columns[None, None, :]
        xu = trapezoid(u, rows, wide, n, m1) / largest_u[None, None, :]
        xv = trapezoid(v, rows, wide, n, m2) / largest_v[None, None, :]
        s = tl.load(sigma + rows, mask=rows < n, other=0.0)
        xu_transposed = tl.permute(xu, (0, 2, 1))
        sum_u += product(xu_transposed, xu)
        sum_v += product(tl.permute(xv, (0, 2, 1)), xv)
        sum_uv += product(xu_transposed, s * xv)
    gram_u, gram_v, gram_uv = tl.sum(sum_u, 0), tl.sum(sum_v, 0), tl.sum(sum_uv, 0)

    square_u, square_v = diagonal(gram_u, i, j, 0), diagonal(gram_v, i, j, 0)
    length_u, length_v = length_of(square_u), length_of(square_v)
    scale_u, scale_v = 1 / length_u, 1 / length_v
    down_u, down_v = length_of(diagonal(gram_u, i, j, 1))[:, None], length_of(diagonal(gram_v, i, j, 1))[:, None]
    gram_u = gram_u / down_u / length_u[None, :]
    gram_v = gram_v / down_v / length_v[None, :]
    gram_uv = gram_uv / down_u / length_v[None, :]
    first_u = tl.where(i == j, 1 / half_square(square_u)[None, :], 0.0)
    first_v = tl.where(i == j, 1 / half_square(square_v)[None, :], 0.0)
    tu, tv = unstacked(inverse(stacked(gram_u, gram_v), stacked(first_u, first_v), M, LEVELS))
    inner = product(tu, gram_uv)

    if block == 0:
        small += trial * 7 * M * M
        here = i * M + j
        tl.store(small + here, tu)
        tl.store(small + M * M + here, tv)
        tl.store(small + 2 * M * M + here, gram_u)
        tl.store(small + 3 * M * M + here, gram_v)
        tl.store(small + 4 * M * M + here, gram_uv)
        tl.store(small + 5 * M * M + here, inner)
        lengths = small + 6 * M * M + columns
        tl.store(small + 6 * M * M + here, tl.zeros((M, M), gram_u.dtype), mask=i > 3)
        tl.store(lengths, largest_u)
        tl.store(lengths + M, scale_u)
        tl.store(lengths + 2 * M, largest_v)
        tl.store(lengths + 3 * M, scale_v)

    tu_transposed = tl.trans(tu)
    for first in range(block * own, min(n, block * own + own), ROWS):
        rows = first + tl.arange(0, ROWS)[:, None]
        yu = trapezoid(u, rows, j, n, m1) / largest_u[None, :] * scale_u[None, :]
        yv = trapezoid(v, rows, j, n, m2) / largest_v[None, :] * scale_v[None, :]
        s = tl.load(sigma + rows, mask=rows < n, other=0.0)
        at_u, at_v = rows * r + j, rows * r + m1 + j
        here_u, here_v = (rows < n) & (j < m1), (rows < n) & (j < m2)
        tl.store(a + at_u, -yu, mask=here_u)
        tl.store(a + at_v, product(yu, inner) - s * yv, mask=here_v)
        tl.store(c + at_u, s * product(yu, tu_transposed), mask=here_u)
        tl.store(c + at_v, product(yv, tv), mask=here_v)


@triton.jit(do_not_specialize=["n", "own"])
def factors_backward(
    grad_a,
    grad_c,
    sigma,
    u,
    v,
    small,
    grad_sigma,
    grad_u,
    grad_v,
    n,
    m1,
    m2,
    own,
    M: tl.constexpr,
    ROWS: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """Form the gradients of sigma, u and v from those of A and C and from what ``factors`` has kept in ``small``.

    The grid is (trials, blocks), and a program writes ``own`` rows.
    """
    trial, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    r = m1 + m2
    grad_a += trial * n * r
    grad_c += trial * n * r
    sigma += trial * n
    grad_sigma += trial * n
    u += trial * n * m1
    grad_u += trial * n * m1
    v += trial * n * m2
    grad_v += trial * n * m2
    small += trial * 7 * M * M
    i, j = tl.arange(0, M)[:, None], tl.arange(0, M)[None, :]
    here, columns = i * M + j, tl.arange(0, M)
    lengths = small + 6 * M * M + columns
    largest_u, scale_u = tl.load(lengths), tl.load(lengths + M)
    largest_v, scale_v = tl.load(lengths + 2 * M), tl.load(lengths + 3 * M)

    sum_inner = tl.zeros((SPLIT, M, M), u.dtype.element_ty)
    sum_tu, sum_tv = sum_inner, sum_inner
    along_u = tl.zeros((SPLIT, ROWS // SPLIT, M), u.dtype.element_ty)
    along_v = along_u
    for first in range(0, n, ROWS):
        rows, wide = split_rows(first, ROWS, SPLIT), columns[None, None, :]
        yu = trapezoid(u, rows, wide, n, m1) / largest_u[None, None, :] * scale_u[None, None, :]
        yv = trapezoid(v, rows, wide, n, m2) / largest_v[None, None, :] * scale_v[None, None, :]
        s = tl.load(sigma + rows, mask=rows < n, other=0.0)
        ga1, ga2 = entries(grad_a, rows, wide, n, 0, m1, r), entries(grad_a, rows, wide, n, m1, m2, r)
        gc1, gc2 = entries(grad_c, rows, wide, n, 0, m1, r), entries(grad_c, rows, wide, n, m1, m2, r)
        sum_inner += product(tl.permute(yu, (0, 2, 1)), ga2)
        sum_tu += product(tl.permute(gc1, (0, 2, 1)), s * yu)
        sum_tv += product(tl.permute(yv, (0, 2, 1)), gc2)
        along_u -= yu * ga1
        along_v -= s * yv * ga2
    g_inner, from_c, g_tv = tl.sum(sum_inner, 0), tl.sum(sum_tu, 0), tl.sum(sum_tv, 0)

    tu, tv = tl.load(small + here), tl.load(small + M * M + here)
    gram_u, gram_v = tl.load(small + 2 * M * M + here), tl.load(small + 3 * M * M + here)
    gram_uv, inner = tl.load(small + 4 * M * M + here), tl.load(small + 5 * M * M + here)
    tu_transposed, tv_transposed = tl.trans(tu), tl.trans(tv)
    g_uv = product(tu_transposed, g_inner)
    g_tu = product(g_inner, tl.trans(gram_uv)) + from_c
    both = stacked(tu_transposed, tv_transposed)
    g_inverse_u, g_inverse_v = unstacked(product(product(both, stacked(g_tu, g_tv)), both))
    upper_u, upper_v = tl.where(i < j, -g_inverse_u, 0.0), tl.where(i < j, -g_inverse_v, 0.0)
    on_yu, on_yv = upper_u + tl.trans(upper_u), upper_v + tl.trans(upper_v)
    # The parts of the gradients of Yu and Yv that are parallel to their columns, which the unit length removes.
    both_uv = gram_uv * g_uv
    parallel_u = tl.trans(g_inner * inner + both_uv) + from_c * tu + gram_u * on_yu
    parallel_v = both_uv + tl.trans(g_tv * tv) + gram_v * on_yv
    along_u_all = tl.sum(parallel_u, 0) + tl.sum(tl.sum(along_u, 1), 0)
    along_v_all = tl.sum(parallel_v, 0) + tl.sum(tl.sum(along_v, 1), 0)

    inner_transposed, g_uv_transposed = tl.trans(inner), tl.trans(g_uv)
    for first in range(block * own, min(n, block * own + own), ROWS):
        rows = first + tl.arange(0, ROWS)[:, None]
        yu = trapezoid(u, rows, j, n, m1) / largest_u[None, :] * scale_u[None, :]
        yv = trapezoid(v, rows, j, n, m2) / largest_v[None, :] * scale_v[None, :]
        s = tl.load(sigma + rows, mask=rows < n, other=0.0)
        ga1, ga2 = entries(grad_a, rows, j, n, 0, m1, r), entries(grad_a, rows, j, n, m1, m2, r)
        gc1, gc2 = entries(grad_c, rows, j, n, 0, m1, r), entries(grad_c, rows, j, n, m1, m2, r)
        from_zu, from_uv = product(gc1, tu), product(yu, g_uv)
        g_yu = product(ga2, inner_transposed) - ga1 + s * (from_zu + product(yv, g_uv_transposed)) + product(yu, on_yu)
        g_yv = product(gc2, tv_transposed) + s * (from_uv - ga2) + product(yv, on_yv)
        g_sigma = tl.sum(from_zu * yu, 1) + tl.sum((from_uv - ga2) * yv, 1)
        last = first + tl.arange(0, ROWS)
        tl.store(grad_sigma + last, g_sigma, mask=last < n)
        # The last column of a full set is a sign: it has no gradient.
        free = (rows >= j) & (j < n - 1)
        g_u = (g_yu - yu * along_u_all[None, :]) * scale_u[None, :] / largest_u[None, :]
        g_v = (g_yv - yv * along_v_all[None, :]) * scale_v[None, :] / largest_v[None, :]
        tl.store(grad_u + rows * m1 + j, tl.where(free, g_u, 0.0), mask=(rows < n) & (j < m1))
        tl.store(grad_v + rows * m2 + j, tl.where(free, g_v, 0.0), mask=(rows < n) & (j < m2))
