"""The factors of the transition and their gradients, one launch each way for all trials."""

from typing import NamedTuple

from torch import Tensor

from spectral.gpu import device as gpu

LARGEST_SIZE, MOST_REFLECTORS = 2048, 32
"""The largest n, and the largest m1 and m2, for which the kernels are used. For 64 they take minutes to compile."""

SMALL_MATRICES = 7
"""How many (M, M) matrices forward keeps for backward."""


class FactorsPlan(NamedTuple):
    """How a kernel divides the rows of a trial; nothing in it but the number of blocks depends on other trials."""

    width: int
    """M: the columns of u and of v, padded to one power of two."""
    rows: int
    """Rows that a program loads at a time."""
    split: int
    """Parts of them that are summed side by side."""
    warps: int
    """Warps of a program."""
    stages: int
    """How many blocks of rows are on their way from memory at a time; more take longer to compile."""


def plan(m1: int, m2: int) -> FactorsPlan:
    """Return how the kernels divide the work for m1 and m2 reflectors."""
    width = padded(m1, m2)
    return FactorsPlan(width, 32, 2, 4 if width == 16 else 8, 3)


def padded(m1: int, m2: int) -> int:
    """Return M: the number of columns that the kernels compute with, a power of two that is at least 16."""
    return max(16, gpu.power_of_two(max(m1, m2)))


def fits(size: int, m1: int, m2: int) -> bool:
    """Return whether the kernels take n, m1 and m2."""
    return 0 < size <= LARGEST_SIZE and m1 + m2 > 0 and max(m1, m2) <= MOST_REFLECTORS


def run(sigma: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return A and C, (n, m1 + m2), and what the backward pass reads, (7, M, M).

    The bits of a trial depend on neither the other trials nor their number; nor on columns of zeros among its own or
    behind them, as long as M is the same.

    Args:
        sigma: The singular values, shape (..., n); leading dimensions are trials.
        u: The raw reflectors of U, shape (..., n, m1).
        v: The raw reflectors of V, shape (..., n, m2).
    """
    a, c, small = fake(sigma, u, v)
    tensors = [x.contiguous() for x in (sigma, u, v)]
    width = small.shape[-1]
    _launch("factors", [*tensors, a, c, small], sigma, u, v, LEVELS=width.bit_length() - 1)
    return a, c, small


def fake(sigma: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty tensors in place of what ``run`` returns."""
    m1, m2 = u.shape[-1], v.shape[-1]
    width = padded(m1, m2)
    shape = (*u.shape[:-1], m1 + m2)
    return u.new_empty(shape), u.new_empty(shape), u.new_empty(*u.shape[:-2], SMALL_MATRICES, width, width)


def run_backward(
    grad_a: Tensor | None, grad_c: Tensor | None, sigma: Tensor, u: Tensor, v: Tensor, small: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of sigma, u and v from those of A and C, which are None where the loss does not read them.

    The bits of a trial are independent of the others as those of ``run`` are.
    """
    shape = (*u.shape[:-1], u.shape[-1] + v.shape[-1])
    given = [u.new_zeros(shape) if grad is None else grad.contiguous() for grad in (grad_a, grad_c)]
    results = fake_backward(grad_a, grad_c, sigma, u, v)
    tensors = [x.contiguous() for x in (sigma, u, v, small)]
    _launch("factors_backward", [*given, *tensors, *results], sigma, u, v)
    return results


def fake_backward(
    grad_a: Tensor | None, grad_c: Tensor | None, sigma: Tensor, u: Tensor, v: Tensor, *_: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty tensors in place of what ``run_backward`` returns."""
    return sigma.new_empty(sigma.shape), u.new_empty(u.shape), v.new_empty(v.shape)


def _launch(name: str, tensors: list[Tensor], sigma: Tensor, u: Tensor, v: Tensor, **constants: int) -> None:
    """Start one of both kernels for all trials.

    A trial's rows are divided among several programs as long as multiprocessors would be idle. Each of these programs
    sums over all rows by itself, so that none waits for another.
    """
    n, m1, m2 = sigma.shape[-1], u.shape[-1], v.shape[-1]
    trials = sigma.numel() // n
    if not trials:
        return
    cut = plan(m1, m2)
    most = max(1, gpu.processors(sigma.device) // trials)
    steps = -(-n // cut.rows)
    own = cut.rows * -(-steps // most)
    sizes = {"M": cut.width, "ROWS": cut.rows, "SPLIT": cut.split, **constants}
    options = {"num_warps": cut.warps, "num_stages": cut.stages}
    grid = (trials, -(-n // own))
    gpu.launch(f"factors_kernels.{name}", grid, sigma, [*tensors, n, m1, m2, own], **sizes, **options)
