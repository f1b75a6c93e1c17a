"""SpectralLinear: torch.nn.Linear whose weight is held as reflectors and singular values."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from spectral.deprecation import renamed_keyword
from spectral.errors import PackError, ShapeError
from spectral.init import InitName
from spectral.pack import Slot
from spectral.pretrained import PretrainedModule
from spectral.roles import ParameterRole
from spectral.singular_values import Spectrum
from spectral.stacking import stack_trials
from spectral.svd import SVD

OLD_NAMES = ("reflectors_u", "reflectors_v", "singular")
"""Parameters of ``svd`` that were the layer's own up to release 0.2.0."""


class SpectralLinear(PretrainedModule):
    """The linear layer x W^T + b with W (out, in) = U diag(sigma) V^T: x (..., in) -> (..., out).

    Positional arguments are those of ``torch.nn.Linear``; keyword arguments and errors are those of ``spectral.SVD``.
    ``svd`` holds the matrix, with ``reflectors_u``, ``reflectors_v`` and ``singular``, and has further methods, such as
    ``solve``. ``bias`` is a parameter of shape (out,), or None; it starts from U(-1/sqrt(in), 1/sqrt(in)).

    In a pack (see ``pack``) every parameter, input and result has a leading axis K. A state dict of release
    0.2.0 or before is loaded too, where the names of the matrix's parameters had no ``svd.`` before them.
    """

    parameter_roles: ClassVar[Mapping[str, ParameterRole]] = {"bias": "bias"}
    bias: Tensor | None

    @renamed_keyword("start", "init")
    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        reflectors: int | tuple[int, int] | None = None,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
        init: InitName = "gaussian",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.svd = SVD(
            out_features,
            in_features,
            reflectors=reflectors,
            margin=margin,
            sigma=sigma,
            spectrum=spectrum,
            init=init,
            generator=generator,
            device=device,
            dtype=dtype,
        )
        value = self._initial_bias(generator).to(self.svd.reflectors_u) if bias else None
        self.register_parameter("bias", None if value is None else nn.Parameter(value))

    @property
    def weight(self) -> Tensor:
        """W, (out, in) or (K, out, in), with its graph to the parameters of ``svd``. It is formed at each access.

        Assigning a matrix sets ``svd`` to it, as ``set_dense`` does. Changing the result in place changes nothing here.
        """
        return self.svd.dense()

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; ``weight``, also to an ``nn.Parameter``, as ``set_dense`` does."""
        if name == "weight":
            self.set_dense(value)
        else:
            super().__setattr__(name, value)

    @property
    def trials(self) -> int | None:
        """K for a pack, None for a single layer."""
        return self.svd.trials

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Numbers of reflectors, margin and sigma of each trial; one entry if this is not a pack."""
        return self.svd.slots

    @property
    def spectrum(self) -> str:
        """The name of the map of singular values."""
        return self.svd.spectrum

    @torch.no_grad()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw initial values again, as the constructor does. Not for packs, for which it raises PackError."""
        self.svd.reset_parameters(generator=generator)
        if self.bias is not None:
            self.bias.copy_(self._initial_bias(generator))

    def forward(self, input: Tensor) -> Tensor:
        """Return x W^T + b: x (..., in) -> (..., out), or (K, ..., in) -> (K, ..., out) in a pack.

        Raises:
            ShapeError: If the shape or, while autocast is off, the dtype of the input does not fit.
        """
        y: Tensor = self.svd(input)
        if self.bias is None:
            return y
        bias = self.bias if self.trials is None else self.bias.view(self.trials, *(1,) * (y.dim() - 2), -1)
        return y + bias.to(y.dtype)

    def dense(self) -> Tensor:
        """Return W, which is also ``weight``: (out, in), or (K, out, in) in a pack."""
        return self.svd.dense()

    def set_dense(self, w: Tensor) -> None:
        """Set the matrix to ``w`` (out, in) up to rounding; the bias stays. Errors are those of ``SVD.set_dense``."""
        self.svd.set_dense(w)

    def singular_values(self) -> Tensor:
        """Return the singular values of W, (k,) or (K, k), k = min(in, out), not sorted."""
        return self.svd.singular_values()

    def penalty(self) -> Tensor:
        """Return the sum of (sigma_i - sigma*)^2 over i, shape () or (K,); see ``SVD.penalty``."""
        return self.svd.penalty()

    def normalize_(self) -> None:
        """Scale every reflector to length 1, in place, which changes no output. Call it after an optimiser's step."""
        self.svd.normalize_()

    def reflector_parameters(self) -> Iterator[nn.Parameter]:
        """Return an iterator of the raw reflectors, for a parameter group with a learning rate for them alone."""
        return self.svd.reflector_parameters()

    def singular_parameters(self) -> Iterator[nn.Parameter]:
        """Return an iterator of the raw singular values; their learning rate should be scaled with 1 / margin."""
        return self.svd.singular_parameters()

    def free_parameters(self, k: int = 0) -> int:
        """Return the number of free parameters of trial k, with the bias; see ``SVD.free_parameters``."""
        return self.svd.free_parameters(k) + (0 if self.bias is None else self.out_features)

    @classmethod
    def from_dense(
        cls,
        weight: Tensor,
        bias: Tensor | None = None,
        *,
        reflectors: int | tuple[int, int] | None = None,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
    ) -> Self:
        """Return a layer with a given weight, up to rounding, and a copy of a bias, on the weight's device.

        ``SpectralLinear.from_dense(linear.weight, linear.bias)`` converts a layer of torch.

        Args:
            weight: W, shape (out, in).
            bias: b, shape (out,); None is a layer without a bias.
            reflectors: As in ``SVD.from_dense``.
            margin: As in ``SVD.from_dense``.
            sigma: As in ``SVD.from_dense``.
            spectrum: As in ``SVD.from_dense``.

        Raises:
            ShapeError: If the weight does not have two dimensions, or if the bias does not fit it.
            SpectralError: As ``SVD.from_dense`` does.
        """
        svd = SVD.from_dense(weight, reflectors=reflectors, margin=margin, sigma=sigma, spectrum=spectrum)
        if bias is not None and bias.shape != (svd.rows,):
            raise ShapeError(f"bias must have shape {(svd.rows,)}, as the weight has rows; found {tuple(bias.shape)}")
        sizes, generator = (svd.cols, svd.rows, bias is not None), torch.Generator()
        layer = cls(*sizes, "meta", weight.dtype, reflectors=0, spectrum="fixed", generator=generator)
        return layer._with(svd, None if bias is None else bias.detach().to(weight, copy=True))

    def to_linear(self) -> nn.Linear:
        """Return a ``torch.nn.Linear`` with the same outputs, whose weight and bias are copies of the present ones.

        Raises:
            PackError: If this is a pack.
        """
        if self.trials is not None:
            raise PackError(
                f"torch.nn.Linear holds one trial, but this is a pack of {self.trials}; "
                "take one out first with .trial(k)"
            )
        linear = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        linear.weight = nn.Parameter(self.weight.detach())
        if self.bias is not None:
            linear.bias = nn.Parameter(self.bias.detach().clone())
        return linear.train(self.training)

    @classmethod
    def pack(cls, layers: Sequence[Self]) -> Self:
        """Make one pack of separately built layers; values are copied. See ``SVD.pack``.

        Raises:
            PackError: If there are no layers, if one is a pack, or if they differ in more than the numbers of
                reflectors, margin and sigma.
        """
        if not layers:
            raise PackError("a pack needs at least one trial; found none")
        kinds = {(layer.in_features, layer.out_features, layer.bias is not None, layer.training) for layer in layers}
        if len(kinds) > 1:
            raise PackError(
                "trials of a pack must agree in in_features, out_features, bias and training; "
                f"found {sorted(map(str, kinds))}"
            )
        svd = SVD.pack([layer.svd for layer in layers])
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        return layers[0]._with(svd, stack_trials(biases) if biases else None)

    def trial(self, k: int) -> Self:
        """Return trial k of a pack as a separate layer without padding; values are copied.

        Raises:
            PackError: If this is not a pack, or if k does not lie in [0, K).
        """
        svd = self.svd.trial(k)
        return self._with(svd, None if self.bias is None else self.bias.detach()[k].clone())

    def extra_repr(self) -> str:
        """Return what ``repr`` shows in brackets, as ``torch.nn.Linear`` does; ``svd`` shows the rest."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _with(self, svd: SVD, bias: Tensor | None) -> Self:
        """Return a copy of this layer with another SVD and another bias."""
        layer = copy.deepcopy(self)
        layer.svd = svd
        if bias is not None:
            requires_grad = self.bias is None or self.bias.requires_grad
            layer.bias = nn.Parameter(bias, requires_grad=requires_grad)
        return layer

    def _initial_bias(self, generator: torch.Generator | None) -> Tensor:
        """Draw a bias from U(-1/sqrt(in), 1/sqrt(in)), shape (out,), in float64 on the CPU."""
        bound = 1 / math.sqrt(self.in_features)
        empty = torch.empty(self.out_features, dtype=torch.float64, device="cpu")
        return empty.uniform_(-bound, bound, generator=generator)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Load as torch does, but give the parameters of earlier releases their present names first."""
        for name in OLD_NAMES:
            if f"{prefix}{name}" in state_dict and f"{prefix}svd.{name}" not in state_dict:
                state_dict[f"{prefix}svd.{name}"] = state_dict.pop(f"{prefix}{name}")
        configuration = state_dict.get(f"{prefix}svd._extra_state")
        if configuration is not None:  # a refusal is to come before the bias is loaded
            self.svd.set_extra_state(configuration)
        super()._load_from_state_dict(state_dict, prefix, *arguments)
