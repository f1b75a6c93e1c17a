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
    """Raise OptionError unless ``kind`` is one of SPECTRA."""
    if kind not in SPECTRA:
        raise OptionError(f"spectrum must be one of {', '.join(SPECTRA)}; found {kind!r}")


def check_margin(margin: float) -> None:
    """Raise RangeError unless 0 < margin <= 1."""
    if not 0 < margin <= 1:
        raise RangeError(
            f"margin must lie in (0, 1]; found {margin}. To hold all singular values at sigma, which a margin of 0 "
            "would mean, pass spectrum='fixed'"
        )


def check_sigma(sigma: float) -> None:
    """Raise RangeError unless ``sigma`` is finite and not negative."""
    if not (math.isfinite(sigma) and sigma >= 0):
        raise RangeError(f"sigma, the centre of the band, must be finite and >= 0; found {sigma}. The usual value is 1")


def singular_map(kind: str, raw: Tensor | None, sigma: Tensor, margin: Tensor, size: int) -> Tensor:
    """Return the singular values that the map ``kind`` makes of raw parameters.

    - ``sigmoid``: sigma_i = sigma* + 2 r (sigmoid(p_i) - 1/2), written with tanh, which is the same and exact at p = 0.
      Its slope at p = 0 is r / 2, so the learning rate of p should be scaled with 1 / r.
    - ``clip``: sigma_i = p_i, clipped to [sigma* - r, sigma* + r].
    - ``penalty``: sigma_i = p_i without a bound; the method ``penalty()`` of a module returns a term for the loss that
      pulls p_i back towards sigma*.
    - ``fixed``: sigma_i = sigma*, without a parameter; at sigma* = 1 this is the orthogonal case, oRNN.

    Args:
        kind: One of SPECTRA. It is not checked: any other name acts as ``penalty``.
        raw: The raw parameters p, shape (..., size); None for ``fixed``. With None the result is sigma* for every kind.
        sigma: sigma*, the centre of the band, shape (...).
        margin: r, half the width of the band, shape (...); ``penalty`` and ``fixed`` do not read it.
        size: How many singular values there are; it is read only if ``raw`` is None.

    Returns:
        The singular values, shape (..., size).
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
    """Return the raw parameters for which ``singular_map`` returns ``values``; None for ``fixed``, which takes none.

    Args:
        kind: One of SPECTRA.
        values: The singular values, shape (..., size).
        sigma: sigma*, shape (...).
        margin: r, shape (...).

    Raises:
        BandError: If the map does not reach a value. It reaches only values less than r from sigma* for ``sigmoid``, at
            most r from it for ``clip``, and sigma* up to rounding for ``fixed``; ``penalty`` reaches every value.
    """
    distance = values - sigma.unsqueeze(-1)
    reach = torch.zeros_like(margin) if kind == "fixed" else margin
    if kind != "penalty":
        _check_band(kind, values, distance, sigma, reach)
    if kind == "fixed":
        return None
    return 2 * torch.atanh(distance / margin.unsqueeze(-1)) if kind == "sigmoid" else values.clone()


def penalty(values: Tensor, sigma: Tensor) -> Tensor:
    """Return the sum of (values_i - sigma)^2 over the last dimension of ``values``; shape () or (K,), that of sigma."""
    return (values - sigma.unsqueeze(-1)).square().sum(-1)


def _check_band(kind: str, values: Tensor, distance: Tensor, sigma: Tensor, reach: Tensor) -> None:
    """Raise BandError if a value is further from sigma* than the map reaches.

    Args:
        kind: One of SPECTRA but ``penalty``.
        values: The singular values, shape (..., size).
        distance: values - sigma*.
        sigma: sigma*, shape (...).
        reach: How far from sigma* the map reaches: the margin, or 0 for ``fixed``; shape (...).
    """
    away = distance.abs()
    slack = 64 * torch.finfo(values.dtype).eps * values.abs().amax(-1) if kind == "fixed" and values.numel() else 0.0
    limit = (reach + slack).unsqueeze(-1)
    outside = away >= limit if kind == "sigmoid" else away > limit
    if not bool(outside.any()):
        return
    needed = 1.001 * float(away.max())
    wider = "spectrum='sigmoid' with margin" if kind == "fixed" else "margin"
    advice = f"{wider}={needed:.6g} would include them all" if needed <= 1 else "no margin up to 1 includes them all"
    raise BandError(
        f"the {kind} map keeps singular values within {float(reach.max()):.6g} of sigma={float(sigma.max()):.6g}; "
        f"the matrix has values from {float(values.min()):.6g} to {float(values.max()):.6g}. "
        f"{advice}; or pass spectrum='penalty', which sets no bound"
    )


class _Clip(torch.autograd.Function):
    """A clamp to [low, high] whose gradient is zero outside it only where a descent step would lead further away.

    Where a descent step leads back, the gradient is passed on, so that no raw value gets stuck outside.
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
