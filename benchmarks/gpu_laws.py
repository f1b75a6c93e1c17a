"""Every GPU backend is compared with the reference before anything is timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from benchmarks.shapes import Shape
from spectral import Activation, layer
from spectral.transition import Transition

LEADS: tuple[tuple[int, ...], ...] = ((), (2,))
"""Without a trial axis, and a pack of two."""
LAWS = {
    "triton": (Shape(128, 16, 50, 8), Shape(256, 16, 50, 8), Shape(512, 16, 50, 8), Shape(1024, 16, 10, 8)),
    "triton_dense": (Shape(170, 42, 20, 8), Shape(256, 64, 20, 8), Shape(128, 64, 20, 8), Shape(37, 5, 30, 3)),
}
"""Shapes at which each of our GPU backends is compared with the reference before anything is timed."""
TINY = (Shape(16, 2, 5, 3), Shape(24, 3, 4, 2))


def require_laws(shapes: Mapping[str, Sequence[Shape]], device: torch.device) -> None:
    """Compare states and gradients with the float64 reference, alone and in a pack of two; exit if they differ.

    The activation is tanh: one flipped sign of a relu would change a gradient more than rounding does.
    """
    for backend, at in ((backend, at) for backend, several in shapes.items() for at in several):
        for lead in LEADS:
            worst = error(at, lead, backend, device)
            if not worst < 2e-4:
                raise SystemExit(f"{backend} and the reference differ by {worst:.2g} at {at}, so nothing is timed.")
            print(f"  law: {backend} {at}{' pack of 2' if lead else ''}: {worst:.1e}", flush=True)


def error(at: Shape, lead: tuple[int, ...], backend: str, device: torch.device) -> float:
    """Return the largest relative error, by norm, of the states and the gradients of M, b, h0, sigma, u and v.

    Args:
        at: The sizes; the input has one feature.
        lead: () or (K,), the trial axis.
        backend: What is compared, in float32, with the reference in float64.
        device: The device.
    """
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*lead, *shape, dtype=torch.float64, generator=generator).to(device)

    sigma, u, v = 1 + 0.01 * draw(at.n), draw(at.n, at.m), draw(at.n, at.m)
    x, weight, bias, h0 = draw(at.T, at.B, 1), 0.1 * draw(at.n, 1), 0.1 * draw(at.n), draw(at.B, at.n)
    seen, seen_last = draw(at.T, at.B, at.n), draw(at.B, at.n)

    def run(dtype: torch.dtype, backend: str) -> list[torch.Tensor]:
        leaves = [t.to(dtype).detach().requires_grad_() for t in (weight, bias, h0, sigma, u, v)]
        states, last = layer(x.to(dtype), *leaves[:3], Transition(*leaves[3:]), Activation("tanh"), backend=backend)
        return [
            states.detach(),
            *torch.autograd.grad([states, last], leaves, [seen.to(dtype), seen_last.to(dtype)]),
        ]

    expected = "dense" if at.m > 16 else "reference"  # the reference takes a step for each reflector
    pairs = zip(run(torch.float32, backend), run(torch.float64, expected), strict=True)
    return max(float((a.double() - b).norm() / b.norm()) for a, b in pairs)
