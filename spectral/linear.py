"""SpectralLinear: torch.nn.Linear whose weight is held as reflectors and singular values."""

import math

import torch
from torch import Tensor

from spectral import init
from spectral.singular_values import Spectrum
from spectral.svd import SVD


class SpectralLinear(SVD):
    """The linear layer x W^T + b with W (out_features, in_features) = U diag(sigma) V^T: x (..., in) -> (..., out).

    Positional arguments are those of ``torch.nn.Linear``, keyword arguments and errors those of SVD. The bias, (out) or
    (K, out), starts from U(-1/sqrt(in), 1/sqrt(in)). The methods inherited from SVD, such as ``dense``, ``solve`` and
    ``set_dense``, concern W alone and leave the bias out.
    """

    bias: Tensor | None
    _shared_options = ("rows", "cols", "has_bias")

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
        start: init.InitName = "gaussian",
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            out_features,
            in_features,
            reflectors=reflectors,
            margin=margin,
            sigma=sigma,
            spectrum=spectrum,
            start=start,
            generator=generator,
            device=device,
            dtype=dtype,
        )
        bound = 1 / math.sqrt(in_features)
        value = torch.empty(out_features, dtype=torch.float64).uniform_(-bound, bound, generator=generator)
        self._set_parameters({"bias": value if bias else None}, device, dtype)

    @property
    def has_bias(self) -> bool:
        """Whether the layer has a bias."""
        return self.bias is not None

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b: x (..., in) -> (..., out), or (K, ..., in) -> (K, ..., out) in a pack."""
        y = super().forward(x)
        if self.bias is None:
            return y
        if self.trials is None:
            return y + self.bias
        return y + self.bias.view(self.trials, *(1,) * (y.dim() - 2), self.rows)
