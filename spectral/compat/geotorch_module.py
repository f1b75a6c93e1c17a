"""Modules whose weights GeoTorch parametrizes: their parametrization replaced by one of this package."""

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize as torch_parametrize

from spectral.compat.geotorch_constraints import CONSTRAINTS, nearest_orthogonal, widest
from spectral.errors import OptionError, ShapeError
from spectral.parametrization import AnyModule, spectral_svd
from spectral.singular_values import Spectrum
from spectral.svd import SVD


def replace_geotorch(
    module: AnyModule,
    name: str = "weight",
    *,
    reflectors: int | tuple[int, int] | None = None,
    margin: float | None = None,
    sigma: float = 1.0,
    spectrum: Spectrum | None = None,
) -> AnyModule:
    """Replace GeoTorch's parametrization of a weight by reflectors and singular values, in place; the weight stays.

    Without ``spectrum``, ``orthogonal`` and ``grassmannian`` become spectrum='fixed'. ``almost_orthogonal`` becomes a
    band with the margin ``lam``: 'sigmoid' for its maps ``scaled_sigmoid``, which is the same map, and ``tanh``, and
    'clip' for all others. The remaining constraints become 'penalty', which leaves the singular values free: training
    keeps neither a low rank nor a positive determinant then.

    Args:
        module: The module that holds the weight.
        name: The weight's own name. It must be a matrix.
        reflectors: As in SVD. None is the full number, which reaches every weight.
        margin: As in SVD; None is ``lam`` for ``almost_orthogonal``, else SVD's default.
        sigma: As in SVD.
        spectrum: As in SVD; None is as said above.

    Returns:
        The same module. Make the optimiser afterwards, since the module's parameters are then others.

    Raises:
        OptionError: If the weight is not constrained by GeoTorch alone, or not by one of the functions in CONSTRAINTS.
        ShapeError: If the weight is not a matrix: GeoTorch constrains each kernel of a convolution by itself.
        SpectralError: As ``SVD.from_dense`` does. The module is then as before.
    """
    geotorch = _only_parametrization(module, name)
    weight = getattr(module, name).detach()
    if weight.dim() != 2:
        raise ShapeError(f"{name!r} must be a matrix, with two dimensions; found shape {tuple(weight.shape)}")
    natural, lam = _natural_spectrum(geotorch, name)
    if natural == "fixed":
        weight = nearest_orthogonal(widest(weight, name)).to(weight)
    options: dict[str, Any] = {"reflectors": reflectors, "sigma": sigma, "spectrum": spectrum or natural}
    chosen_margin = lam if margin is None else margin
    if chosen_margin is not None:
        options["margin"] = chosen_margin
    SVD.from_dense(weight, **options)  # raises before the module is changed
    torch_parametrize.remove_parametrizations(module, name)
    with torch.no_grad():
        getattr(module, name).copy_(weight)
    return spectral_svd(module, name, init="weight", **options)


def _natural_spectrum(geotorch: nn.Module, name: str) -> tuple[Spectrum, float | None]:
    """Return the spectrum that fits a manifold of GeoTorch best, and its margin, or None if it has none.

    Raises:
        OptionError: If the manifold belongs to none of CONSTRAINTS; ``name`` is the weight's, for the message.
    """
    match type(geotorch).__name__:
        case "Stiefel" | "SO" | "Grassmannian":
            return "fixed", None
        case "AlmostOrthogonal":
            lam, f = float(geotorch.lam), getattr(geotorch.f, "__name__", "")  # type: ignore[arg-type]
            if lam == 0:
                return "fixed", None
            return ("sigmoid" if f in ("scaled_sigmoid", "tanh") else "clip"), lam
        case "LowRank" | "FixedRank" | "GLp":
            return "penalty", None
        case kind:
            raise OptionError(
                f"{name!r} is constrained by GeoTorch's {kind}; the constraints that have a counterpart here are "
                f"{', '.join(CONSTRAINTS)}. Call torch.nn.utils.parametrize.remove_parametrizations first, and then "
                "spectral.spectral_svd with init='weight'"
            )


def _only_parametrization(module: nn.Module, name: str) -> nn.Module:
    """Return the one parametrization of a weight. Raise OptionError unless it is GeoTorch's and the only one."""
    lists: Any = module.parametrizations if torch_parametrize.is_parametrized(module, name) else {name: ()}
    found: list[nn.Module] = list(lists[name])
    if len(found) != 1 or type(found[0]).__module__.partition(".")[0] != "geotorch":
        kinds = ", ".join(f"{type(p).__module__}.{type(p).__name__}" for p in found) or "none"
        raise OptionError(
            f"{name!r} of {type(module).__name__} must have one parametrization, of GeoTorch; found {kinds}"
        )
    return found[0]
