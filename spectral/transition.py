"""The transition W = U diag(sigma) V^T, and its two fast forms: diagonal plus low rank, and dense."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from spectral.autocast import without_autocast
from spectral.cpu import transition as cpu
from spectral.gpu import device as gpu
from spectral.gpu import factors as kernels
from spectral.householder import reference, wy
from spectral.operators import Operator, absent


class Transition(NamedTuple):
    """The square matrix W = U diag(sigma) V^T of Zhang et al. 2018. Leading dimensions are batch."""

    sigma: Tensor
    """The singular values, shape (..., n)."""
    u: Tensor
    """The raw reflectors of U = H(u_0) H(u_1) ..., shape (..., n, m1). The first j entries of column j are ignored."""
    v: Tensor
    """The raw reflectors of V, shape (..., n, m2), read in the same way."""

    @property
    def size(self) -> int:
        """The hidden size n."""
        return self.sigma.shape[-1]

    @property
    def rank(self) -> int:
        """The number of reflectors r = m1 + m2; W - diag(sigma) has at most this rank."""
        return self.u.shape[-1] + self.v.shape[-1]

    def matrix(self) -> Tensor:
        """Return W, shape (..., n, n), in the dtype of sigma, also under autocast. Cost: 2 n^2 (m1 + m2) flop."""
        return dense(self)

    def orthogonality_error(self) -> Tensor:
        """Return the largest absolute entry of U^T U - I and V^T V - I, shape (...): a rounding error."""
        return torch.maximum(wy.orthogonality_error(self.u), wy.orthogonality_error(self.v))


class Factors(NamedTuple):
    """The matrix W = diag(sigma) + a c^T: a diagonal plus a matrix of rank r. Made by ``factors``."""

    sigma: Tensor
    """The diagonal, shape (..., n)."""
    a: Tensor
    """The left factor A, shape (..., n, r)."""
    c: Tensor
    """The right factor C, shape (..., n, r)."""


Matrix = Transition | Factors | Tensor
"""One matrix in any of its three forms: reflectors, factors, or W itself."""


def factors(matrix: Matrix) -> Factors:
    """Return W as a diagonal plus a matrix of rank r = m1 + m2, which is exact.

    U = I - Yu Zu and V^T = I - Yv Zv with Zu = Tu Yu^T and Zv = Tv^T Yv^T, so that A = [-Yu, Yu (Zu S Yv) - S Yv] and
    C = [S Zu^T, Zv^T]. Autocast has no effect. Cost: O(n r^2), with one triangular solve for each side. On a GPU with
    triton it is one kernel launch, and one more backward (``spectral.gpu``); on a CPU with a compiler, compiled code
    (``spectral.cpu``).

    Args:
        matrix: A Transition. Factors are returned as they are. A tensor W is refused with AssertionError.
    """
    if isinstance(matrix, Factors):
        return matrix
    assert isinstance(matrix, Transition), "factors cannot be computed from W alone"
    sigma, u, v = matrix
    operator = FACTORS
    if _runs_on_gpu(sigma, u, v):
        operator = ON_GPU
    elif _runs_on_cpu(sigma, u, v):
        operator = ON_CPU
    with without_autocast(sigma.device):
        return Factors(sigma, *operator(sigma, u, v)[:2])


def _runs_on_gpu(sigma: Tensor, u: Tensor, v: Tensor) -> bool:
    """Return whether a Triton kernel forms the factors."""
    if not gpu.runs(sigma.device, sigma.dtype):
        return False
    alike = sigma.dtype == u.dtype == v.dtype and sigma.shape == u.shape[:-1] == v.shape[:-1]
    return alike and kernels.fits(sigma.shape[-1], u.shape[-1], v.shape[-1])


def _runs_on_cpu(*tensors: Tensor) -> bool:
    """Return whether compiled code takes the tensors. A compiler or exporter is given torch's operators instead."""
    return not torch.compiler.is_compiling() and cpu.runs(*tensors)


def _plain_factors(sigma: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Return A and C, and what the backward pass below reads: the two WY forms, Zu, Zv and Zu S Yv."""
    left, right = wy.factor(u), wy.factor(v)
    zu, zv = left.z(), right.z_transposed()
    scaled_zu = zu * sigma.unsqueeze(-2)
    inner = scaled_zu @ right.y
    a = torch.cat([-left.y, left.y @ inner - sigma.unsqueeze(-1) * right.y], dim=-1)
    return a, torch.cat([scaled_zu.mT, zv.mT], dim=-1), *left, *right, zu, zv, inner


def _keep_factors(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*inputs, *output[2:])


def _factors_gradient(ctx: Any, grad_a: Tensor | None, grad_c: Tensor | None) -> tuple[Any, ...]:
    if grad_a is None and grad_c is None:
        return None, None, None
    gradients: tuple[Tensor, ...] = FACTORS_BACKWARD(grad_a, grad_c, *ctx.saved_tensors)
    return gradients


def _run_factors_backward(
    grad_a: Tensor | None,
    grad_c: Tensor | None,
    sigma: Tensor,
    u: Tensor,
    v: Tensor,
    yu: Tensor,
    ru: Tensor,
    yv: Tensor,
    rv: Tensor,
    zu: Tensor,
    zv: Tensor,
    inner: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of sigma, u and v.

    It is written by hand because the backward pass that autograd derives costs four times the forward pass here.
    """
    m1, shape = u.shape[-1], (*u.shape[:-1], u.shape[-1] + v.shape[-1])
    grad_a = sigma.new_zeros(shape) if grad_a is None else grad_a
    grad_c = sigma.new_zeros(shape) if grad_c is None else grad_c
    # Through A = [-Yu, Yu inner - S Yv] and C = [(S Zu)^T, Zv^T], where inner = (Zu S) Yv.
    grad_a2, row = grad_a[..., m1:], sigma.unsqueeze(-2)
    grad_inner = yu.mT @ grad_a2
    grad_scaled_zu = grad_c[..., :m1].mT + grad_inner @ yv.mT
    grad_sigma = (grad_scaled_zu * zu).sum(-2) - (grad_a2 * yv).sum(-1)
    grad_yu = grad_a2 @ inner.mT - grad_a[..., :m1]
    grad_yv = (zu * row).mT @ grad_inner - row.mT * grad_a2
    # Through the triangular solves Zu = Ru^-1 Yu^T and Zv = Rv^-T Yv^T, with R for T^-1.
    xu = torch.linalg.solve_triangular(ru.mT, grad_scaled_zu * row, upper=False)
    xv = torch.linalg.solve_triangular(rv, grad_c[..., m1:].mT, upper=True)
    grad_u = wy.gradient_of_raw(u, yu, grad_yu + xu.mT, -xu @ zu.mT)
    grad_v = wy.gradient_of_raw(v, yv, grad_yv + xv.mT, -zv @ xv.mT)
    return grad_sigma, grad_u, grad_v


def _plain_factors_backward(
    grad_a: Tensor | None, grad_c: Tensor | None, sigma: Tensor, u: Tensor, v: Tensor, *_: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of sigma, u and v as torch derives them, so that they can be differentiated in turn."""
    given = [(i, grad) for i, grad in enumerate((grad_a, grad_c)) if grad is not None]
    if not given:
        return sigma.new_zeros(sigma.shape), u.new_zeros(u.shape), v.new_zeros(v.shape)

    def function(*inputs: Tensor) -> tuple[Tensor, ...]:
        results = _plain_factors(*inputs)
        return tuple(results[i] for i, _ in given)

    pull = torch.func.vjp(function, sigma, u, v)[1]
    gradients: tuple[Tensor, ...] = pull(tuple(grad for _, grad in given))
    return gradients


FACTORS = Operator(
    "factors(Tensor sigma, Tensor u, Tensor v) -> (Tensor a, Tensor c, Tensor yu, Tensor ru, Tensor yv, Tensor rv, "
    "Tensor zu, Tensor zv, Tensor inner)",
    _plain_factors,
    (1, 2, 2),
    setup=_keep_factors,
    backward=_factors_gradient,
    kept=7,
    plain=_plain_factors,
)
FACTORS_BACKWARD = Operator(
    "factors_backward(Tensor? grad_a, Tensor? grad_c, Tensor sigma, Tensor u, Tensor v, Tensor yu, Tensor ru, "
    "Tensor yv, Tensor rv, Tensor zu, Tensor zv, Tensor inner) -> (Tensor, Tensor, Tensor)",
    _run_factors_backward,
    (2, 2, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2),
    plain=_plain_factors_backward,
)


def _plain_of_kernels(sigma: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return A and C by torch's own operators, and nothing of what compiled code or a kernel keeps."""
    a, c, *_ = _plain_factors(sigma, u, v)
    return a, c, absent(u)


def _gradient_on_gpu(ctx: Any, grad_a: Tensor | None, grad_c: Tensor | None) -> tuple[Any, ...]:
    if grad_a is None and grad_c is None:
        return None, None, None
    gradients: tuple[Tensor, ...] = ON_GPU_BACKWARD(grad_a, grad_c, *ctx.saved_tensors)
    return gradients


ON_GPU = Operator(
    "triton_factors(Tensor sigma, Tensor u, Tensor v) -> (Tensor a, Tensor c, Tensor small)",
    kernels.run,
    (1, 2, 2),
    fake=kernels.fake,
    setup=_keep_factors,
    backward=_gradient_on_gpu,
    kept=1,
    plain=_plain_of_kernels,
)
"""``FACTORS`` as one kernel."""
ON_GPU_BACKWARD = Operator(
    "triton_factors_backward(Tensor? grad_a, Tensor? grad_c, Tensor sigma, Tensor u, Tensor v, Tensor small) "
    "-> (Tensor, Tensor, Tensor)",
    kernels.run_backward,
    (2, 2, 1, 2, 2, 3),
    fake=kernels.fake_backward,
    plain=_plain_factors_backward,
)


def _gradient_on_cpu(ctx: Any, grad_a: Tensor | None, grad_c: Tensor | None) -> tuple[Any, ...]:
    if grad_a is None and grad_c is None:
        return None, None, None
    gradients: tuple[Tensor, ...] = ON_CPU_BACKWARD(grad_a, grad_c, *ctx.saved_tensors)
    return gradients


def _keep_matrix(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _matrix_gradient(ctx: Any, grad: Tensor | None) -> tuple[Any, ...]:
    if grad is None:
        return None, None, None
    gradients: tuple[Tensor, ...] = MATRIX_BACKWARD(grad, *ctx.saved_tensors)
    return gradients


def _plain_matrix_backward(grad: Tensor, sigma: Tensor, a: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return grad.diagonal(dim1=-2, dim2=-1), grad @ c, grad.mT @ a


ON_CPU = Operator(
    "native_factors(Tensor sigma, Tensor u, Tensor v) -> (Tensor a, Tensor c, Tensor saved)",
    cpu.run,
    (1, 2, 2),
    fake=cpu.fake,
    setup=_keep_factors,
    backward=_gradient_on_cpu,
    kept=1,
    plain=_plain_of_kernels,
)
"""``FACTORS`` in compiled code, each trial from its own reflectors alone."""
ON_CPU_BACKWARD = Operator(
    "native_factors_backward(Tensor? grad_a, Tensor? grad_c, Tensor sigma, Tensor u, Tensor v, Tensor saved) "
    "-> (Tensor, Tensor, Tensor)",
    cpu.run_backward,
    (2, 2, 1, 2, 2, 1),
    fake=cpu.fake_backward,
    plain=_plain_factors_backward,
)
MATRIX = Operator(
    "native_matrix(Tensor sigma, Tensor a, Tensor c) -> Tensor",
    cpu.run_matrix,
    (1, 2, 2),
    fake=cpu.fake_matrix,
    setup=_keep_matrix,
    backward=_matrix_gradient,
    plain=lambda sigma, a, c: _plain_matrix(sigma, a, c),
)
"""W from its factors in compiled code, each trial from its own columns alone."""
MATRIX_BACKWARD = Operator(
    "native_matrix_backward(Tensor grad, Tensor sigma, Tensor a, Tensor c) -> (Tensor, Tensor, Tensor)",
    cpu.run_matrix_backward,
    (2, 1, 2, 2),
    fake=cpu.fake_matrix_backward,
    plain=_plain_matrix_backward,
)


def dense(matrix: Matrix) -> Tensor:
    """Return W as a tensor, shape (..., n, n). Cost: 2 n^2 r flop, or none if ``matrix`` is a tensor already."""
    if isinstance(matrix, Tensor):
        return matrix
    sigma, a, c = factors(matrix)
    with without_autocast(sigma.device):
        if _runs_on_cpu(sigma, a, c):
            w: Tensor = MATRIX(sigma, a, c)
            return w
        return _plain_matrix(sigma, a, c)


def _plain_matrix(sigma: Tensor, a: Tensor, c: Tensor) -> Tensor:
    return a @ c.mT + torch.diag_embed(sigma)


def dense_literal(transition: Transition) -> Tensor:
    """Return W, formed from one reflector after another. It is slow and serves to check ``dense``."""
    sigma, u, v = transition
    return (reference.dense(u) * sigma.unsqueeze(-2)) @ reference.dense(v).mT
