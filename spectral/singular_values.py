"""From a free parameter to singular values near sigma*: the maps named by Zhang et al. 2018, and back.

raw and values have shape (n,) or (K, n); sigma and margin are scalars, or tensors of shape () or (K,).
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
    """Raises OptionError unless kind names a map."""
    if kind not in SPECTRA:
        raise OptionError(f"spectrum must be one of {', '.join(SPECTRA)}; found {kind!r}")


def check_margin(margin: float) -> None:
    """Raises RangeError unless 0 < margin <= 1."""
    if not 0 < margin <= 1:
        raise RangeError(
            f"margin must lie in (0, 1]; found {margin}. "
            "For an orthogonal transition, all singular values equal to sigma, pass spectrum='fixed'"
        )


def check_sigma(sigma: float) -> None:
    """Raises RangeError unless sigma is finite and not negative."""
    if not (math.isfinite(sigma) and sigma >= 0):
        raise RangeError(f"sigma, the centre of the band, must be finite and >= 0; found {sigma}. The usual value is 1")


def singular_map(kind: str, raw: Tensor | None, sigma: Tensor, margin: Tensor, size: int) -> Tensor:
    """The singular values, shape (..., size).

    sigmoid: sigma_i = sigma* + 2 r (sigmoid(p_i) - 1/2); written with tanh, which is the same
    and exact at p = 0. Its slope is r / 2 there: scale the learning rate of p with 1 / r. clip: sigma_i = p_i
    held to the band. penalty: sigma_i = p_i, to be drawn back by `penalty`. fixed: sigma_i = sigma*, no
    parameter: the orthogonal case (oRNN) at sigma* = 1.
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
    """The parameter that gives these singular values: the inverse of `singular_map`; None where it takes none.

    Raises BandError when a value lies outside what the map reaches, with the margin that would hold it.
    """
    offset = values - sigma.unsqueeze(-1)
    reach = torch.zeros_like(margin) if kind == "fixed" else margin
    if kind != "penalty":
        _check_band(kind, values, offset, sigma, reach)
    if kind == "fixed":
        return None
    return 2 * torch.atanh(offset / margin.unsqueeze(-1)) if kind == "sigmoid" else values.clone()


def penalty(values: Tensor, sigma: Tensor) -> Tensor:
    """|sigma - sigma*|^2, summed over the singular values: shape () or (K,)."""
    return (values - sigma.unsqueeze(-1)).square().sum(-1)


def _check_band(kind: str, values: Tensor, offset: Tensor, sigma: Tensor, reach: Tensor) -> None:
    away = offset.abs()
    slack = 64 * torch.finfo(values.dtype).eps * values.abs().amax(-1) if kind == "fixed" and values.numel() else 0.0
    limit = (reach + slack).unsqueeze(-1)
    outside = away >= limit if kind == "sigmoid" else away > limit
    if not bool(outside.any()):
        return
    needed = 1.001 * float(away.max())
    advice = f"margin={needed:.6g} would hold them all" if needed <= 1 else "no margin up to 1 holds them all"
    raise BandError(
        f"the {kind} map holds singular values within {float(reach.max()):.6g} of sigma={float(sigma.max()):.6g}; "
        f"found values from {float(values.min()):.6g} to {float(values.max()):.6g}. "
        f"{advice}; or pass spectrum='penalty', which is free"
    )


class _Clip(torch.autograd.Function):
    """Clamp whose gradient outside the band is kept where a descent step leads back in, so that no value
    sticks.
    """

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
