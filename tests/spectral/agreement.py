"""The tolerance between two ways of computing the same, and the random inputs that the law suites share."""

import importlib.util
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from spectral import Activation, Transition
from spectral.recurrence.backends import activations_of

LAW = settings(
    deadline=None, derandomize=True, max_examples=12, suppress_health_check=[HealthCheck.too_slow], database=None
)


NO_TRITON = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the package triton is not installed")


trial_axis = pytest.mark.parametrize("lead", [(), (1,), (3,)], ids=["alone", "K=1", "K=3"])


def named(backend: str, *others: Any) -> Any:
    """Return a test parameter that is skipped if the backend's package is not installed."""
    return pytest.param(backend, *others, marks=[NO_TRITON] if backend.startswith("triton") else [])


def activations(backend: str) -> tuple[str, ...]:
    """Return the names of the nonlinearities that a backend has."""
    return activations_of(backend)


def two_if_interpreted(backend: str) -> tuple[str, ...]:
    """Return the nonlinearities of a backend; of one that runs in Triton's interpreter, which is slow, only two.

    One of these has an offset. ``test_recurrence`` has all of them.
    """
    return ("tanh", "modrelu") if backend.startswith("triton") else activations(backend)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64, generator=generator(seed))


def tolerance(size: int, dtype: torch.dtype = torch.float64) -> float:
    """Return the relative error allowed to a sum of ``size`` terms; at most 1e-12 in float64."""
    eps = torch.finfo(dtype).eps
    return min(64 * eps * max(size, 4) ** 0.5, 4503 * eps)


def assert_near(found: Tensor, expected: Tensor, size: int, what: str = "") -> None:
    """Compare relative to the largest expected entry; shapes must be equal."""
    assert found.shape == expected.shape, what
    if expected.numel() == 0:
        return
    scale = float(expected.detach().abs().max()) or 1.0
    error = float((found.detach() - expected.detach()).abs().max()) / scale
    assert error <= tolerance(size, expected.dtype), f"{what}: relative error {error:.3g}"


def transition(n: int, m1: int, m2: int, *, lead: tuple[int, ...] = (), seed: int = 0) -> Transition:
    """Draw a transition with singular values within 0.3 of 1; every tensor is a leaf that requires its gradient."""
    sigma = 1 + 0.3 * torch.tanh(draw(*lead, n, seed=seed))
    u, v = draw(*lead, n, m1, seed=seed + 1), draw(*lead, n, m2, seed=seed + 2)
    return Transition(*(t.requires_grad_() for t in (sigma, u, v)))


def offset(name: str, n: int, *, lead: tuple[int, ...] = (), seed: int = 7) -> Tensor | None:
    """Draw an offset with entries of both signs that requires its gradient; None if the nonlinearity takes none."""
    return draw(*lead, n, seed=seed, scale=0.4).requires_grad_() if Activation(name).has_offset else None


def move_offsets(net: torch.nn.Module, seed: int = 7) -> None:
    """Move all offsets away from 0, where modReLU is the identity."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.startswith("offset_"):
                parameter += draw(*parameter.shape, seed=seed, scale=0.4)


def there(*tensors: Tensor | None) -> list[Tensor]:
    """Return the tensors that are not None."""
    return [x for x in tensors if x is not None]


def gradients(output: Tensor, inputs: list[Tensor], seed: int = 9) -> list[Tensor]:
    """Return the gradients of a random linear function of the output; zeros for an input that has no part in it."""
    if not output.requires_grad:
        return [torch.zeros_like(x) for x in inputs]
    weight = draw(*output.shape, seed=seed)
    grads = torch.autograd.grad((output * weight).sum(), inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(grads, inputs, strict=True)]


def inputs(lead: tuple[int, ...], steps: int, batch: int, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw z (..., T, B, n) and h0 (..., B, n), leaves that require their gradients."""
    z, h0 = draw(*lead, steps, batch, n, seed=seed + 5), draw(*lead, batch, n, seed=seed + 6)
    return z.requires_grad_(), h0.requires_grad_()


def parts(result: tuple[Tensor, Any]) -> list[Tensor]:
    """Return what a recurrent module returns in one list: the output, h_n, and c_n of an LSTM."""
    output, last = result
    return [output, *(last if isinstance(last, tuple) else (last,))]
