"""SVD: a matrix held as U diag(sigma) V^T, square or rectangular, a single one or a pack of K."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from spectral import init, singular_values
from spectral.errors import ReflectorCountError, ShapeError
from spectral.householder import wy
from spectral.householder.decompose import reflectors_of
from spectral.pack import PackableModule, Slot, reflector_counts
from spectral.singular_values import Spectrum


class SVD(PackableModule):
    """The matrix W = U_k diag(sigma) V_k^T of shape rows x cols, k = min(rows, cols): a reduced SVD.

    From Zhang et al. 2018. Parameters: ``reflectors_u`` (rows, m1), ``reflectors_v`` (cols, m2), ``singular`` (k). In a
    pack everything has a leading axis K, vectors included.

    Args:
        rows: The number of rows.
        cols: The number of columns.
        reflectors: m for both sides, or (m1, m2), each at most k. None means k, which reaches every matrix.
        margin: r: singular values stay in [sigma - r, sigma + r].
        sigma: The centre of that band.
        spectrum: The map that keeps singular values in the band; see singular_values.py.
        start: The initialisation: ``gaussian``, or for a square matrix any of init.py.
        generator: The CPU generator that draws the first values.
        device: The device of the parameters.
        dtype: The dtype of the parameters.

    Raises:
        OptionError: If there is no such map or initialisation.
        RangeError: If the margin or sigma is out of range; ReflectorCountError for a number of reflectors.
        ShapeError: If there is no row or no column. The methods raise it for vectors of a wrong shape.
    """

    _shared_options: ClassVar[tuple[str, ...]] = ("rows", "cols")
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
        slot = Slot(reflector_counts(small if reflectors is None else reflectors), float(margin), float(sigma))
        slot.check(small, spectrum)
        super().__init__(slot, spectrum)
        self.rows, self.cols = rows, cols
        u, v = _initial_reflectors(start, rows, cols, slot.reflectors, generator)
        values = {"reflectors_u": u, "reflectors_v": v, "singular": self._initial_singular(small)}
        self._set_parameters(values, device, dtype)
        self._set_band()

    def forward(self, x: Tensor) -> Tensor:
        """Return W x for each vector: x (..., cols) -> (..., rows). Cost: 4 (cols m2 + rows m1) flop a vector."""
        inner = wy.apply_transposed(self.reflectors_v, self._vectors(x, self.cols))
        y = wy.apply(self.reflectors_u, self._scale(inner, self.singular_values(), self.rows))
        return y.reshape(*x.shape[:-1], self.rows)

    def transposed(self, y: Tensor) -> Tensor:
        """Return W^T y for each vector: y (..., rows) -> (..., cols)."""
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        x = wy.apply(self.reflectors_v, self._scale(inner, self.singular_values(), self.cols))
        return x.reshape(*y.shape[:-1], self.cols)

    def solve(self, y: Tensor) -> Tensor:
        """Return W^-1 y for each vector of a square matrix: y (..., n) -> (..., n); infinite if a sigma_i is 0."""
        self._check_square("an inverse")
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        x = wy.apply(self.reflectors_v, inner / self.singular_values().unsqueeze(-2))
        return x.reshape(y.shape)

    def log_abs_det(self) -> Tensor:
        """Return log |det W| of a square matrix, shape () or (K,). Cost: n flop."""
        self._check_square("a determinant")
        return self.singular_values().abs().log().sum(-1)

    def dense(self) -> Tensor:
        """Return W itself, (rows, cols) or (K, rows, cols). Cost: 2 k (rows (m1 + cols) + cols m2) flop."""
        small = min(self.rows, self.cols)
        left = wy.dense(self.reflectors_u, small) * self.singular_values().unsqueeze(-2)
        return left @ wy.dense(self.reflectors_v, small).mT

    def singular_values(self) -> Tensor:
        """Return sigma, (k,) or (K, k), not sorted."""
        return self._singular_map(self.singular, min(self.rows, self.cols))

    def penalty(self) -> Tensor:
        """Return the sum of |sigma - sigma*|^2, shape () or (K,). Add it to the loss with spectrum='penalty'."""
        return singular_values.penalty(self.singular_values(), self._sigma)

    @torch.no_grad()
    def set_dense(self, w: Tensor) -> None:
        """Set the parameters so that the matrix equals ``w``. Not for packs.

        A reflector that ``w`` does not need becomes zero, which is the identity. A zero reflector has zero gradient, so
        training does not change it.

        Args:
            w: The matrix, shape (rows, cols).

        Raises:
            ShapeError: If ``w`` has another shape, or if this is a pack.
            BandError: If a singular value lies outside the band; the message has a margin that would include it.
            ReflectorCountError: If so few reflectors do not reach ``w``.
        """
        if self.trials is not None or w.shape != (self.rows, self.cols):
            raise ShapeError(f"w must have shape {(self.rows, self.cols)}, for one trial; found {tuple(w.shape)}")
        u, v, raw = parameters_of(w.to(self.reflectors_u), self.slots[0], self.spectrum)
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
        """Return an SVD that equals a given matrix, on its device and in its dtype.

        Args:
            w: The matrix, shape (rows, cols).
            reflectors: As in SVD; None is the full number, which reaches every matrix.
            margin: As in SVD; all singular values of ``w`` must lie in the band.
            sigma: As in SVD.
            spectrum: As in SVD.

        Raises:
            SpectralError: As ``set_dense`` does.
        """
        if w.dim() != 2:
            raise ShapeError(f"w must be one matrix (rows, cols); found shape {tuple(w.shape)}")
        svd = SVD(
            *w.shape,
            reflectors=reflectors,
            margin=margin,
            sigma=sigma,
            spectrum=spectrum,
            generator=torch.Generator(),
            device=w.device,
            dtype=w.dtype,
        )
        svd.set_dense(w)
        return svd

    def extra_repr(self) -> str:
        """Return sizes and options, for ``repr``."""
        slots = self.slots[0] if self.trials is None else self.slots
        return f"{self.rows}, {self.cols}, spectrum={self.spectrum!r}, trials={self.trials}, {slots}"

    def _vectors(self, x: Tensor, size: int) -> Tensor:
        """Return the vectors as rows, (N, size) or (K, N, size). Raise ShapeError if they have another size."""
        lead = () if self.trials is None else (self.trials,)
        if x.shape[-1:] != (size,) or x.shape[: len(lead)] != lead or x.dim() <= len(lead):
            expected = ", ".join([*map(str, lead), "...", str(size)])
            raise ShapeError(f"vectors must have shape ({expected}); found {tuple(x.shape)}")
        return x.reshape(*lead, math.prod(x.shape[len(lead) : -1]), size)

    @staticmethod
    def _scale(x: Tensor, sigma: Tensor, size: int) -> Tensor:
        """Apply the rectangular diag(sigma) to each row: (..., N, from) -> (..., N, size)."""
        small = sigma.shape[-1]
        return nn.functional.pad(x[..., :small] * sigma.unsqueeze(-2), (0, size - small))

    def _check_square(self, what: str) -> None:
        """Raise ShapeError unless the matrix is square."""
        if self.rows != self.cols:
            raise ShapeError(f"only a square matrix has {what}; this one is {self.rows} x {self.cols}")


def parameters_of(w: Tensor, slot: Slot, spectrum: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the parameters with which an SVD equals a matrix.

    Args:
        w: The matrix, shape (rows, cols).
        slot: Numbers of reflectors, margin and sigma.
        spectrum: The name of the map of singular values.

    Returns:
        Reflectors u (rows, m1) and v (cols, m2), and raw singular values (k,), None if the map takes none.

    Raises:
        BandError: If a singular value lies outside the band.
        ReflectorCountError: If so few reflectors do not reach ``w``.
    """
    u, sigma, v_t = torch.linalg.svd(w, full_matrices=False)
    centre, margin = sigma.new_tensor(slot.sigma), sigma.new_tensor(slot.margin)
    raw = singular_values.inverse_singular_map(spectrum, sigma, centre, margin)
    m1, m2 = slot.reflectors
    return reflectors_of(u, m1), reflectors_of(v_t.mT, m2), raw


def _initial_reflectors(
    start: str, rows: int, cols: int, counts: tuple[int, int], generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw u (rows, m1) and v (cols, m2)."""
    if rows == cols:
        return init.reflectors(start, rows, counts, generator=generator)
    if start != "gaussian":
        raise ReflectorCountError(f"start {start!r} needs a square matrix; found {rows} x {cols}. Use 'gaussian'")
    u = init.gaussian(rows, counts[0], generator=generator)
    return u, init.gaussian(cols, counts[1], generator=generator)
