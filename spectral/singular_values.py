"""The maps from free parameters to singular values near sigma* that Zhang et al. 2018 name, and their inverses.

Raw and mapped values have shape (n,) or (K, n); sigma* and the margin r have shape () or (K,).
"""

import math
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from spectral.autograd import once_differentiable
from spectral.errors import BandError, OptionError, RangeError

Spectrum = Literal["sigmoid", "clip", "penalty", "fixed"]
SPECTRA: tuple[str, ...] = get_args(Spectrum)


def check_spectrum(kind: str) -> None:
    """Raise OptionError unless ``kind`` names a map."""
    if kind not in SPECTRA:
        raise OptionError(f"spectrum must be one of {', '.join(SPECTRA)}; found {kind!r}")


def check_margin(margin: float) -> None:
    """Raise RangeError unless 0 < margin <= 1."""
    if not 0 < margin <= 1:
        raise RangeError(
            f"margin must lie in (0, 1]; found {margin}. "
            "For an orthogonal transition, all singular values equal to sigma, pass spectrum='fixed'"
        )


def check_sigma(sigma: float) -> None:
    """Raise RangeError unless ``sigma`` is finite and not negative."""
    if not (math.isfinite(sigma) and sigma >= 0):
        raise RangeError(f"sigma, the centre of the band, must be finite and >= 0; found {sigma}. The usual value is 1")


def singular_map(kind: str, raw: Tensor | None, sigma: Tensor, margin: Tensor, size: int) -> Tensor:
    """Return the singular values that belong to raw parameters.

    - ``sigmoid``: sigma_i = sigma* + 2 r (sigmoid(p_i) - 1/2), written with tanh, which is the same and exact at p = 0.
      Its slope there is r / 2, so the learning rate of p should be scaled with 1 / r.
    - ``clip``: sigma_i = p_i, clipped to the band.
    - ``penalty``: sigma_i = p_i, which ``penalty`` pulls back towards sigma*.
    - ``fixed``: sigma_i = sigma*, without a parameter; at sigma* = 1 this is the orthogonal case, oRNN.

    Args:
        kind: The name of the map.
        raw: The raw parameters p, shape (..., size); None for ``fixed``.
        sigma: sigma*, the centre of the band, shape (...).
        margin: r, half the width of the band, shape (...).
        size: How many singular values there are.

    Returns:
        Shape (..., size).
    """
    sigma, margin = sigma.unsqueeze(-1), margin.unsqueeze(-1)
    if raw is None:
        return sigma.expand(*sigma.shape[:-1], size)
    if kind == "sigmoid":
        return sigma + margin * torch.tanh(raw / 2)
    if kind == "clip":
        clipped: Tensor = _Clip.apply(raw, sigma - margin, sigma + margin)  # type: ignore[no-untyped-call]
        return clipped
    return raw


def inverse_singular_map(kind: str, values: Tensor, sigma: Tensor, margin: Tensor) -> Tensor | None:
    """Return the raw parameters for which ``singular_map`` returns ``values``; None if the map takes none.

    Raises:
        BandError: If a value lies outside the range of the map; the message has a margin that includes them all.
    """
    distance = values - sigma.unsqueeze(-1)
    reach = torch.zeros_like(margin) if kind == "fixed" else margin
    if kind != "penalty":
        _check_band(kind, values, distance, sigma, reach)
    if kind == "fixed":
        return None
    return 2 * torch.atanh(distance / margin.unsqueeze(-1)) if kind == "sigmoid" else values.clone()


def penalty(values: Tensor, sigma: Tensor) -> Tensor:
    """Return |sigma - sigma*|^2 summed over the singular values, shape () or (K,)."""
    return (values - sigma.unsqueeze(-1)).square().sum(-1)


def _check_band(kind: str, values: Tensor, distance: Tensor, sigma: Tensor, reach: Tensor) -> None:
    """Raise BandError if a value is further from sigma* than the map reaches."""
    away = distance.abs()
    slack = 64 * torch.finfo(values.dtype).eps * values.abs().amax(-1) if kind == "fixed" and values.numel() else 0.0
    limit = (reach + slack).unsqueeze(-1)
    outside = away >= limit if kind == "sigmoid" else away > limit
    if not bool(outside.any()):
        return
    needed = 1.001 * float(away.max())
    advice = f"margin={needed:.6g} would include them all" if needed <= 1 else "no margin up to 1 includes them all"
    raise BandError(
        f"the {kind} map keeps singular values within {float(reach.max()):.6g} of sigma={float(sigma.max()):.6g}; "
        f"found values from {float(values.min()):.6g} to {float(values.max()):.6g}. "
        f"{advice}; or pass spectrum='penalty', which sets no bound"
    )


class _Clip(torch.autograd.Function):
    """A clamp that keeps the gradient outside the band if a descent step leads back in, so that no value gets stuck."""

    @staticmethod
    def forward(ctx: Any, raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
        ctx.save_for_backward(raw, low, high)
        return torch.minimum(torch.maximum(raw, low), high)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        raw, low, high = ctx.saved_tensors
        leaves_further = ((raw > high) & (grad < 0)) | ((raw < low) & (grad > 0))
        return grad.masked_fill(leaves_further, 0.0), None, None
