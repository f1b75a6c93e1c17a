"""The factors of the transition, W itself, and the gradients of both, in compiled code; see transition.h.

A trial's bits are the same alone and in every pack, whatever its company: its zero columns are left out, and sums run
in an order that its own sizes decide.
"""

import ctypes

import torch
from torch import Tensor

from spectral.cpu import library, threads


def runs(*tensors: Tensor) -> bool:
    """Return whether compiled code takes these tensors: all on the CPU and in float32, or all in float64."""
    first = tensors[0]
    if first.device.type != "cpu" or any(tensor.dtype != first.dtype for tensor in tensors):
        return False
    return library.available(first.device, first.dtype)


def run(sigma: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return A, C, and what the gradient needs, one row for each trial.

    Args:
        sigma: The singular values, shape (..., n).
        u: Raw reflectors, shape (..., n, m1).
        v: Raw reflectors, shape (..., n, m2).
    """
    sigma, u, v = sigma.contiguous(), u.contiguous(), v.contiguous()
    shape = (*u.shape[:-1], u.shape[-1] + v.shape[-1])
    a, c = sigma.new_empty(shape), sigma.new_empty(shape)
    saved = sigma.new_empty(*sigma.shape[:-1], saved_size(u, v))
    _call(False, sigma, u, v, a, c, saved, None, None, None, None, None)
    return a, c, saved


def saved_size(u: Tensor, v: Tensor) -> int:
    """Return how many numbers ``run`` keeps for the gradient of one trial; as ``saved_size`` in transition.h."""
    n, m1, m2 = u.shape[-2], u.shape[-1], v.shape[-1]
    long = _padded(n) | 16
    return sum(m * (2 * long + _padded(m) + 2) for m in (m1, m2)) + m1 * _padded(m2) + long


def _padded(size: int) -> int:
    return (size + 15) // 16 * 16


def fake(sigma: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty results of ``run``."""
    shape = (*u.shape[:-1], u.shape[-1] + v.shape[-1])
    saved = sigma.new_empty(*sigma.shape[:-1], saved_size(u, v))
    return sigma.new_empty(shape), sigma.new_empty(shape), saved


def run_backward(
    grad_a: Tensor | None, grad_c: Tensor | None, sigma: Tensor, u: Tensor, v: Tensor, saved: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of sigma, u and v from those of A and C, None for zero, and from what ``run`` kept."""
    sigma, u, v = sigma.contiguous(), u.contiguous(), v.contiguous()
    grad_a, grad_c = (None if grad is None else grad.contiguous() for grad in (grad_a, grad_c))
    results = torch.empty_like(sigma), torch.empty_like(u), torch.empty_like(v)
    _call(True, sigma, u, v, None, None, saved.contiguous(), grad_a, grad_c, *results)
    return results


def fake_backward(
    grad_a: Tensor | None, grad_c: Tensor | None, sigma: Tensor, u: Tensor, v: Tensor, saved: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty results of ``run_backward``."""
    return sigma.new_empty(sigma.shape), u.new_empty(u.shape), v.new_empty(v.shape)


def _call(back: bool, sigma: Tensor, u: Tensor, v: Tensor, *others: Tensor | None) -> None:
    built = library.required(sigma.dtype)
    n, m1, m2 = u.shape[-2], u.shape[-1], v.shape[-1]
    trials = sigma[..., 0].numel() if sigma.dim() > 1 else 1
    arrays = (sigma, u, v, *others)
    built.spectral_factors(library.integers(trials, n, m1, m2, threads.count(), int(back)), library.pointers(arrays))


def run_matrix(sigma: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """Return W = diag(sigma) + A C^T, shape (..., n, n)."""
    w = sigma.new_empty(*sigma.shape, sigma.shape[-1])
    _call_matrix(False, sigma.contiguous(), a.contiguous(), c.contiguous(), w)
    return w


def fake_matrix(sigma: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """Return an empty result of ``run_matrix``."""
    return sigma.new_empty(*sigma.shape, sigma.shape[-1])


def run_matrix_backward(grad: Tensor, sigma: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of sigma, A and C from that of W."""
    sigma, a, c = sigma.contiguous(), a.contiguous(), c.contiguous()
    results = torch.empty_like(sigma), torch.empty_like(a), torch.empty_like(c)
    _call_matrix(True, sigma, a, c, grad.contiguous(), *results)
    return results


def fake_matrix_backward(grad: Tensor, sigma: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty results of ``run_matrix_backward``."""
    return sigma.new_empty(sigma.shape), a.new_empty(a.shape), c.new_empty(c.shape)


def _call_matrix(back: bool, sigma: Tensor, a: Tensor, c: Tensor, *others: Tensor) -> None:
    built, n, r = library.required(sigma.dtype), a.shape[-2], a.shape[-1]
    trials = sigma[..., 0].numel() if sigma.dim() > 1 else 1
    size = library.integers(trials, n, r, threads.count(), int(back))
    built.spectral_matrix(size, library.pointers((sigma, a, c, *others)))


def normalize_(raw: Tensor) -> None:
    """Scale every column of raw reflectors (..., n, m) to length 1, in place; a zero column stays zero.

    ``raw`` must be contiguous.
    """
    n, m = raw.shape[-2:]
    count = raw.numel() // (n * m) if raw.numel() else 0
    library.required(raw.dtype).spectral_normalize(library.integers(count, n, m), ctypes.c_void_p(raw.data_ptr()))


def squares(x: Tensor) -> Tensor:
    """Return the sum of the squares of each trial, float64 of shape (K,), of a tensor (K, ...).

    Columns are summed by themselves and then one after another, so further zero columns change no bit.
    """
    x = x.contiguous()
    trials, columns = x.shape[0], x.shape[-1] if x.dim() > 1 else 1
    sums = torch.empty(trials, dtype=torch.float64)
    rows = x.numel() // (trials * columns) if x.numel() else 0
    size = library.integers(trials, rows, columns)
    library.required(x.dtype).spectral_squares(size, ctypes.c_void_p(x.data_ptr()), ctypes.c_void_p(sums.data_ptr()))
    return sums
