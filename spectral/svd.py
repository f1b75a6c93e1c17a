"""A matrix held as U diag(sigma) V^T with reflectors for U and V: square or rectangular, alone or a pack of
K.
"""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from spectral import init, singular_values
from spectral.errors import ReflectorCountError, ShapeError
from spectral.householder import wy
from spectral.householder.decompose import reflectors_of
from spectral.pack import Slot, Trials, counts
from spectral.singular_values import Spectrum


class SVD(Trials):
    """W = U_k diag(sigma) V_k^T of shape rows x cols, k = min(rows, cols): the reduced SVD (Zhang et al. 2018).

    `reflectors` m or (m1, m2), each at most k; None is k, which reaches every matrix. `margin`, `sigma`,
    `spectrum` as in SpectralRNN. `start`: gaussian, or for a square matrix any of init.py. Parameters:
    reflectors_u (rows, m1), reflectors_v (cols, m2), singular (k). A pack has a leading axis K everywhere,
    vectors included. Raises OptionError, RangeError, ReflectorCountError; the methods raise ShapeError.
    """

    _alike: ClassVar[tuple[str, ...]] = ("rows", "cols")
    reflectors_u: Tensor
    reflectors_v: Tensor
    singular: Tensor | None

    def __init__(
        self,
        rows: int,
        cols: int,
        *,
        reflectors: int | tuple[int, int] | None = None,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
        start: init.InitName = "gaussian",
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        small = min(rows, cols)
        if small < 1:
            raise ShapeError(f"a matrix must have at least one row and one column; found {rows} x {cols}")
        slot = Slot(counts(small if reflectors is None else reflectors), float(margin), float(sigma))
        slot.check(small, spectrum)
        super().__init__(slot, spectrum)
        self.rows, self.cols = rows, cols
        u, v = _start(start, rows, cols, slot.reflectors, generator)
        values = {"reflectors_u": u, "reflectors_v": v, "singular": self._first_singular(small)}
        self._set_parameters(values, device, dtype)
        self._set_band()

    def forward(self, x: Tensor) -> Tensor:
        """W x for each vector: x (..., cols) -> (..., rows). Cost: 4 (cols m2 + rows m1) flop a vector."""
        inner = wy.apply_transposed(self.reflectors_v, self._vectors(x, self.cols))
        y = wy.apply(self.reflectors_u, self._scale(inner, self.singular_values(), self.rows))
        return y.reshape(*x.shape[:-1], self.rows)

    def transposed(self, y: Tensor) -> Tensor:
        """W^T y for each vector: y (..., rows) -> (..., cols)."""
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        x = wy.apply(self.reflectors_v, self._scale(inner, self.singular_values(), self.cols))
        return x.reshape(*y.shape[:-1], self.cols)

    def solve(self, y: Tensor) -> Tensor:
        """W^-1 y for each vector, square only: y (..., n) -> (..., n); infinite at sigma_i = 0."""
        self._check_square("an inverse")
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        x = wy.apply(self.reflectors_v, inner / self.singular_values().unsqueeze(-2))
        return x.reshape(y.shape)

    def log_abs_det(self) -> Tensor:
        """log |det W|, square only: shape () or (K,). Cost: n."""
        self._check_square("a determinant")
        return self.singular_values().abs().log().sum(-1)

    def dense(self) -> Tensor:
        """W itself, (rows, cols) or (K, rows, cols). Cost: 2 k (rows (m1 + cols) + cols m2) flop."""
        small = min(self.rows, self.cols)
        left = wy.dense(self.reflectors_u, small) * self.singular_values().unsqueeze(-2)
        return left @ wy.dense(self.reflectors_v, small).mT

    def singular_values(self) -> Tensor:
        """sigma, (k,) or (K, k), not sorted."""
        return self._spectrum_of(self.singular, min(self.rows, self.cols))

    def penalty(self) -> Tensor:
        """sum of |sigma - sigma*|^2, shape () or (K,): add it to the loss with spectrum='penalty'."""
        return singular_values.penalty(self.singular_values(), self._sigma)

    @torch.no_grad()
    def set_dense(self, w: Tensor) -> None:
        """Takes the values that give w (rows, cols). One trial only.

        A reflector that w does not need becomes zero, the identity, and a zero reflector has zero gradient.
        Raises ShapeError, BandError with the margin that would hold w, ReflectorCountError.
        """
        if self.trials is not None or w.shape != (self.rows, self.cols):
            raise ShapeError(f"w must have shape {(self.rows, self.cols)}, for one trial; found {tuple(w.shape)}")
        u, v, raw = values_of(w.to(self.reflectors_u), self.slots[0], self.spectrum)
        self.reflectors_u.copy_(u)
        self.reflectors_v.copy_(v)
        if raw is not None and self.singular is not None:
            self.singular.copy_(raw)

    @classmethod
    def from_dense(
        cls,
        w: Tensor,
        *,
        reflectors: int | tuple[int, int] | None = None,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
    ) -> "SVD":
        """The SVD that equals w (rows, cols); `reflectors=None`, the full number, reaches every w. As
        set_dense.
        """
        if w.dim() != 2:
            raise ShapeError(f"w must be one matrix (rows, cols); found shape {tuple(w.shape)}")
        rows, cols = w.shape
        svd = SVD(
            rows, cols, reflectors=reflectors, margin=margin, sigma=sigma, spectrum=spectrum,
            generator=torch.Generator(), device=w.device, dtype=w.dtype,
        )  # fmt: skip
        svd.set_dense(w)
        return svd

    def extra_repr(self) -> str:
        """Sizes and options, for repr."""
        own = self.slots[0] if self.trials is None else self.slots
        return f"{self.rows}, {self.cols}, spectrum={self.spectrum!r}, trials={self.trials}, {own}"

    def _vectors(self, x: Tensor, size: int) -> Tensor:
        """(N, size), or (K, N, size) in a pack."""
        lead = () if self.trials is None else (self.trials,)
        if x.shape[-1:] != (size,) or x.shape[: len(lead)] != lead or x.dim() <= len(lead):
            wanted = ", ".join([*map(str, lead), "...", str(size)])
            raise ShapeError(f"vectors must have shape ({wanted}); found {tuple(x.shape)}")
        return x.reshape(*lead, math.prod(x.shape[len(lead) : -1]), size)

    @staticmethod
    def _scale(x: Tensor, sigma: Tensor, size: int) -> Tensor:
        """diag(sigma), rectangular: (..., N, from) -> (..., N, size)."""
        small = sigma.shape[-1]
        return nn.functional.pad(x[..., :small] * sigma.unsqueeze(-2), (0, size - small))

    def _check_square(self, what: str) -> None:
        if self.rows != self.cols:
            raise ShapeError(f"only a square matrix has {what}; this one is {self.rows} x {self.cols}")


def values_of(w: Tensor, slot: Slot, spectrum: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Reflectors u (rows, m1), v (cols, m2) and raw singular values (k), None where the map takes none, that give w
    (rows, cols). Raises BandError with the margin that would hold w, ReflectorCountError.
    """
    u, sigma, v_t = torch.linalg.svd(w, full_matrices=False)
    raw = singular_values.inverse_singular_map(
        spectrum, sigma, sigma.new_tensor(slot.sigma), sigma.new_tensor(slot.margin)
    )
    m1, m2 = slot.reflectors
    return reflectors_of(u, m1), reflectors_of(v_t.mT, m2), raw


def _start(
    start: str, rows: int, cols: int, reflectors: tuple[int, int], generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    if rows == cols:
        return init.reflectors(start, rows, reflectors, generator=generator)
    if start != "gaussian":
        raise ReflectorCountError(f"start {start!r} needs a square matrix; found {rows} x {cols}. Use 'gaussian'")
    u = init.gaussian(rows, reflectors[0], generator=generator)
    return u, init.gaussian(cols, reflectors[1], generator=generator)
