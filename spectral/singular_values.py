"""The maps from free parameters to singular values near sigma* that Zhang et al. 2018 name, and their inverses.

Raw and mapped values have shape (n,) or (K, n); sigma* and the margin r have shape () or (K,).
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from spectral.autocast import HALVES
from spectral.errors import BandError, OptionError, RangeError
from spectral.gpu import columns
from spectral.gpu import device as gpu
from spectral.operators import Operator

Spectrum = Literal["sigmoid", "clip", "penalty", "fixed"]
SPECTRA: tuple[str, ...] = get_args(Spectrum)
BANDED: tuple[str, ...] = ("sigmoid", "clip")
"""The maps that keep singular values in [sigma* - r, sigma* + r]. The others do not use the margin."""

FEWEST_VALUES = 16
"""A warning is given if fewer numbers than about this many lie in a band."""


class Band(NamedTuple):
    """The band [sigma* - r, sigma* + r] of each trial: tensors of shape (..., 1), next to raw values (..., size)."""

    sigma: Tensor
    """sigma*, the centre."""
    low: Tensor
    """sigma* - r, rounded."""
    high: Tensor
    """sigma* + r, rounded."""
    width: Tensor
    """2 r."""
    one: Tensor
    """1."""
    start: Tensor
    """How far from sigma* ``sigmoid`` starts to count: -r, at the edges, if these need no rounding; 0 otherwise."""
    share: Tensor
    """The share of the width between there and the edges: 0, or 1/2 from sigma*."""
    centred_at_zero: Tensor | None
    """Where sigma* is 0; None if that is known to be nowhere."""

    @classmethod
    def of(cls, sigma: Tensor, margin: Tensor) -> "Band":
        """Return the band of sigma* and r, both of shape (...)."""
        sigma, margin = sigma.unsqueeze(-1), margin.unsqueeze(-1)
        low, high = sigma - margin, sigma + margin
        exact = ((sigma - low == margin) & (high - sigma == margin)).to(sigma.dtype)
        one = torch.ones_like(sigma)
        return cls(sigma, low, high, 2 * margin, one, -margin * exact, 0.5 - 0.5 * exact, sigma == 0)

    @classmethod
    def of_trials(
        cls,
        sigmas: Sequence[float],
        margins: Sequence[float],
        *,
        single: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> "Band":
        """Return the band of the trials of a module.

        Args:
            sigmas: sigma* of each trial.
            margins: r of each trial.
            single: Whether the module is a single trial. Its tensors are then made on the device itself, without a copy
                from the host, which a CUDA graph could not capture.
            device: The device of the tensors.
            dtype: Their dtype.
        """
        if single:
            sigma, margin = (torch.full((), values[0], device=device, dtype=dtype) for values in (sigmas, margins))
        else:
            sigma, margin = (torch.tensor(values, device=device, dtype=dtype) for values in (sigmas, margins))
        band = cls.of(sigma, margin)
        return band if 0 in sigmas else band._replace(centred_at_zero=None)


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


def check_resolution(sigma: float, margin: float, dtype: torch.dtype) -> None:
    """Refuse a band that is thinner than the rounding of ``dtype`` at its centre, and warn of one with few numbers.

    Args:
        sigma: sigma*, the centre of the band.
        margin: r, half its width.
        dtype: The dtype in which singular values are computed.

    Raises:
        RangeError: If sigma* - r, sigma* and sigma* + r are one number in this dtype, so that nothing can be learned.
    """
    centre = torch.tensor(sigma, dtype=dtype, device="cpu")
    if bool(centre - margin == centre) and bool(centre + margin == centre):
        raise RangeError(
            f"margin {margin:g} is less than the rounding of {dtype} at sigma {sigma:g}: all singular values would be "
            "sigma for ever. Use a larger margin, dtype=torch.float64, or spectrum='fixed'"
        )
    spacing = math.ldexp(torch.finfo(dtype).eps, math.frexp(sigma)[1] - 1) if sigma else 0.0
    if 2 * margin < FEWEST_VALUES * spacing:
        warnings.warn(
            f"margin {margin:g} is hardly more than the rounding of {dtype} at sigma {sigma:g}: only about "
            f"{max(2, round(2 * margin / spacing))} numbers lie in the band, so singular values move in few steps. "
            "Use a larger margin or dtype=torch.float64",
            UserWarning,
            stacklevel=2,
        )


def singular_map(kind: str, raw: Tensor | None, sigma: Tensor, margin: Tensor, size: int) -> Tensor:
    """Return the singular values that the map ``kind`` makes of raw parameters.

    - ``sigmoid``: sigma_i = sigma* + 2 r (sigmoid(p_i) - 1/2), which is sigma* at p = 0. Its slope there is r / 2, so
      the learning rate of p should be scaled with 1 / r. The slope 2 r sigmoid(p) sigmoid(-p) keeps its relative
      accuracy on both sides, as far as numbers reach: a saturated value can come back.
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
    return map_into(kind, raw, Band.of(sigma, margin), size)


def map_into(kind: str, raw: Tensor | None, band: Band, size: int) -> Tensor:
    """Return the singular values of ``singular_map``, for a band that is made already."""
    if raw is None:
        return band.sigma.repeat_interleave(size, -1)  # not the band's own memory
    if kind in BANDED and _runs_on_gpu(raw, band):
        values: Tensor = ON_GPU(raw, band.sigma, band.low, band.high, band.width, band.start, band.share, kind)
        return values
    if kind == "sigmoid":
        return _sigmoid(raw, band)
    if kind == "clip":
        return _clip(raw, band.low, band.high)
    return raw


def _sigmoid(raw: Tensor, band: Band) -> Tensor:
    """Return sigma* + r tanh(p / 2), computed from s = sigmoid(-|p|), the share of the width that is left to the edge.

    Its slope s (1 - s) keeps its relative accuracy, where 1 - tanh^2 rounds to zero. The value is counted from the
    edge, so that it keeps the relative accuracy of its distance, if edges need no rounding; they do not where they
    are 0. Otherwise it is counted from sigma*, so that it is exactly sigma* at p = 0.
    """
    sign = torch.copysign(band.one, raw.detach()).neg_()  # 1 below sigma*, -1 above
    # torch.sigmoid would round differently in different places of an array, and so in different packs.
    exponential = torch.exp(raw * sign)
    left = exponential / (1 + exponential) - band.share
    values = torch.addcmul(torch.addcmul(band.sigma, sign, band.start), left, sign * band.width)
    if band.centred_at_zero is None:
        return values
    # Around a centre of 0, the distance from the edge has not the relative accuracy of small singular values.
    return torch.where(band.centred_at_zero & (raw.abs() < 1), band.high * torch.tanh(raw / 2), values)


def _runs_on_gpu(raw: Tensor, band: Band) -> bool:
    """Return whether a Triton kernel maps raw values. A compiler or exporter is given torch's operators instead."""
    if torch.compiler.is_compiling() or not gpu.runs(raw.device, raw.dtype) or band.centred_at_zero is not None:
        return False
    alike = band.low.dtype == raw.dtype and band.low.shape[:-1] == raw.shape[:-1]
    return alike and not (band.sigma.requires_grad or band.width.requires_grad)


def _plain_on_gpu(raw: Tensor, *band_and_kind: Any) -> Tensor:
    """Return by torch's own operators what ``columns.singular_map`` returns."""
    centre, low, high, width, start, share, kind = band_and_kind
    band = Band(centre, low, high, width, torch.ones_like(centre), start, share, None)
    return _sigmoid(raw, band) if kind == "sigmoid" else _clip(raw, low, high)


def _keep_for_gradient(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    raw, _, low, high, width, _, _, ctx.kind = inputs
    ctx.save_for_backward(raw, low, high, width)


def _gradient_on_gpu(ctx: Any, grad: Tensor | None) -> tuple[Tensor | None, ...]:
    return None if grad is None else ON_GPU_BACKWARD(grad, *ctx.saved_tensors, ctx.kind), *(None,) * 7


def _plain_backward(grad: Tensor, raw: Tensor, low: Tensor, high: Tensor, width: Tensor, kind: str) -> Tensor:
    """Return by torch's own operators what ``columns.singular_map_backward`` returns."""
    if kind == "clip":
        return _Clip.passed_on(grad, raw, low, high)
    exponential = torch.exp(-raw.abs())
    return grad * width * (exponential / (1 + exponential)) / (1 + exponential)


ON_GPU = Operator(
    "triton_singular_map(Tensor raw, Tensor centre, Tensor low, Tensor high, Tensor width, Tensor start, Tensor share, "
    "str kind) -> Tensor",
    columns.singular_map,
    (1, 1, 1, 1, 1, 1, 1, 0),
    fake=lambda raw, *_: raw.new_empty(raw.shape),
    setup=_keep_for_gradient,
    backward=_gradient_on_gpu,
    plain=_plain_on_gpu,
)
"""The maps ``sigmoid`` and ``clip`` as one kernel."""
ON_GPU_BACKWARD = Operator(
    "triton_singular_map_backward(Tensor grad, Tensor raw, Tensor low, Tensor high, Tensor width, str kind) -> Tensor",
    columns.singular_map_backward,
    (1, 1, 1, 1, 1, 0),
    fake=lambda grad, raw, *_: raw.new_empty(raw.shape),
    plain=_plain_backward,
)


def inverse_singular_map(
    kind: str, values: Tensor, sigma: Tensor, margin: Tensor, *, given_in: torch.dtype | None = None
) -> Tensor | None:
    """Return the raw parameters for which ``singular_map`` returns ``values``; None for ``fixed``, which takes none.

    A value that lies outside the band by no more than rounding is taken for the edge. At the edge itself ``sigmoid``
    has a finite raw parameter, about log(2 / eps), whose value is the edge up to rounding.

    Args:
        kind: One of SPECTRA.
        values: The singular values, shape (..., size).
        sigma: sigma*, shape (...).
        margin: r, shape (...).
        given_in: The dtype in which the matrix with these singular values was given; None is that of ``values``. It
            decides how much rounding is allowed for.

    Raises:
        BandError: If the map does not reach a value. ``sigmoid`` and ``clip`` reach values at most r from sigma*,
            ``fixed`` sigma* alone, and ``penalty`` every value.
    """
    if kind == "penalty":
        return values.clone()
    reach = torch.zeros_like(margin) if kind == "fixed" else margin
    _check_band(kind, values, sigma, reach, given_in or values.dtype)
    if kind == "fixed":
        return None
    sigma, margin = sigma.unsqueeze(-1), margin.unsqueeze(-1)
    low, high = sigma - margin, sigma + margin
    if kind == "clip":
        return torch.minimum(torch.maximum(values, low), high)
    least = torch.finfo(values.dtype).eps * margin
    ratio = torch.maximum(values - low, least) / torch.maximum(high - values, least)
    share = (values - sigma) / margin
    return torch.where(share.abs() < 0.5, 2 * torch.atanh(share.clamp(-0.5, 0.5)), ratio.log())


def penalty(values: Tensor, sigma: Tensor) -> Tensor:
    """Return the sum of (values_i - sigma)^2 over the last dimension of ``values``; shape () or (K,), that of sigma."""
    return (values - sigma.unsqueeze(-1)).square().sum(-1)


def _check_band(kind: str, values: Tensor, sigma: Tensor, reach: Tensor, given_in: torch.dtype) -> None:
    """Raise BandError if a value is further from sigma* than the map reaches, by more than rounding.

    Args:
        kind: One of SPECTRA but ``penalty``.
        values: The singular values, shape (..., size).
        sigma: sigma*, shape (...).
        reach: How far from sigma* the map reaches: the margin, or 0 for ``fixed``; shape (...).
        given_in: The dtype in which the matrix was given.
    """
    if not values.numel():
        return
    away = (values - sigma.unsqueeze(-1)).abs()
    # In half precision 64 eps would be half of the values themselves, and the rounding of the entries is nearly all.
    eps = (2 if given_in in HALVES else 64) * torch.finfo(given_in).eps
    slack = eps * values.abs().amax(-1)
    if not bool((away > (reach + slack).unsqueeze(-1)).any()):
        return
    needed = 1.001 * float(away.max())
    wider = "spectrum='sigmoid' with margin" if kind == "fixed" else "margin"
    advice = f"{wider}={needed:.6g} would include them all" if needed <= 1 else "no margin up to 1 includes them all"
    raise BandError(
        f"the {kind} map keeps singular values within {float(reach.max()):.6g} of sigma={float(sigma.max()):.6g}; "
        f"the matrix has values from {float(values.min()):.6g} to {float(values.max()):.6g}. "
        f"{advice}; or pass spectrum='penalty', which sets no bound"
    )


def _clip(raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return ``raw`` clamped to [low, high]; see ``_Clip`` for the gradient."""
    # torch.compile takes no function with a tangent of its own, and has no forward mode in which it would be used.
    clip = _Clip if torch.compiler.is_compiling() else _ClipWithTangent
    clipped: Tensor = clip.apply(raw, low, high)  # type: ignore[no-untyped-call]
    return clipped


class _Clip(torch.autograd.Function):
    """A clamp to [low, high] whose gradient is zero outside it only where a descent step would lead further away.

    Where a descent step leads back, the gradient is passed on, so that no raw value gets stuck outside.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(raw, low), high)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Clip.passed_on(grad, *ctx.saved_tensors), None, None

    @staticmethod
    def passed_on(grad: Tensor, raw: Tensor, low: Tensor, high: Tensor) -> Tensor:
        leaves_further = ((raw > high) & (grad < 0)) | ((raw < low) & (grad > 0))
        return grad.masked_fill(leaves_further, 0.0)


class _ClipWithTangent(_Clip):
    """``_Clip`` with a tangent for forward mode: that of a clamp, zero outside, since no descent is known there."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        raw, low, high = ctx.saved_tensors
        return tangent.masked_fill((raw > high) | (raw < low), 0.0)
