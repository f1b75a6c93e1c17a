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

    From Zhang et al. 2018. Parameters: ``reflectors_u`` (rows, m1), ``reflectors_v`` (cols, m2), and, unless the
    spectrum is ``fixed``, ``singular`` (k), from which ``spectral.singular_map`` computes sigma. In a pack every
    parameter, input and result has a leading axis K.

    Args:
        rows: The number of rows.
        cols: The number of columns.
        reflectors: m for both sides, or (m1, m2), each from 0 to k. None means k, which reaches every U_k and V_k.
        margin: r in (0, 1]: singular values stay in [sigma - r, sigma + r]. ``penalty`` and ``fixed`` do not use it.
        sigma: The centre of that band, >= 0, and the value of every singular value at the start.
        spectrum: ``sigmoid`` and ``clip`` keep singular values in the band, ``penalty`` leaves them free, and ``fixed``
            holds them all at sigma; see ``spectral.singular_map``.
        start: The initial reflectors: ``gaussian``, or for a square matrix also ``identity``, ``henaff`` or ``cayley``;
            see init.py.
        generator: The CPU generator that draws the first values; None is torch's default.
        device: The device of the parameters.
        dtype: The dtype of the parameters; None is torch's default.

    Raises:
        OptionError: If ``spectrum`` or ``start`` has none of these values.
        RangeError: If the margin or sigma is out of range.
        ReflectorCountError: If m1 or m2 is not an integer from 0 to k, or if ``start`` needs other numbers or a square
            matrix.
        ShapeError: If there is no row or no column, or if ``reflectors`` is neither one number nor two. The methods
            raise it for vectors of a wrong shape.
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
        """Return W x for each vector x: (..., cols) -> (..., rows). Cost: 4 (cols m2 + rows m1) flop a vector."""
        inner = wy.apply_transposed(self.reflectors_v, self._vectors(x, self.cols))
        y = wy.apply(self.reflectors_u, self._scale(inner, self.singular_values(), self.rows))
        return y.reshape(*x.shape[:-1], self.rows)

    def transposed(self, y: Tensor) -> Tensor:
        """Return W^T y for each vector y: (..., rows) -> (..., cols)."""
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        x = wy.apply(self.reflectors_v, self._scale(inner, self.singular_values(), self.cols))
        return x.reshape(*y.shape[:-1], self.cols)

    def solve(self, y: Tensor) -> Tensor:
        """Return W^-1 y for each vector y: (..., n) -> (..., n). Only for a square matrix.

        If a sigma_i is exactly 0, W has no inverse. No error is raised, but the result is not finite: infinite or nan
        in entry i if there are no reflectors, and usually nan everywhere if there are.

        Raises:
            ShapeError: If the matrix is not square, or the vectors have another size than n.
        """
        self._check_square("an inverse")
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        x = wy.apply(self.reflectors_v, inner / self.singular_values().unsqueeze(-2))
        return x.reshape(y.shape)

    def log_abs_det(self) -> Tensor:
        """Return log |det W| of a square matrix, shape () or (K,); -inf if a sigma_i is 0. Cost: n flop.

        Raises:
            ShapeError: If the matrix is not square.
        """
        self._check_square("a determinant")
        return self.singular_values().abs().log().sum(-1)

    def dense(self) -> Tensor:
        """Return W as a tensor, (rows, cols) or (K, rows, cols). Cost: 2 k (rows (m1 + cols) + cols m2) flop."""
        small = min(self.rows, self.cols)
        left = wy.dense(self.reflectors_u, small) * self.singular_values().unsqueeze(-2)
        return left @ wy.dense(self.reflectors_v, small).mT

    def singular_values(self) -> Tensor:
        """Return sigma, (k,) or (K, k), not sorted. A value can be negative where its band or spectrum allows it."""
        return self._singular_map(self.singular, min(self.rows, self.cols))

    def penalty(self) -> Tensor:
        """Return the sum of (sigma_i - sigma*)^2 over i, shape () or (K,); sigma* is the argument ``sigma``.

        With spectrum='penalty', add a multiple of it to the loss.
        """
        return singular_values.penalty(self.singular_values(), self._sigma)

    @torch.no_grad()
    def set_dense(self, w: Tensor) -> None:
        """Set the parameters so that the matrix equals ``w`` up to rounding. Not for packs.

        A reflector that ``w`` does not need becomes zero, which is the identity. A zero reflector has zero gradient, so
        training does not change it. If an error is raised, the parameters are as before.

        Args:
            w: The matrix, shape (rows, cols), on any device and in any real dtype.

        Raises:
            ShapeError: If ``w`` has another shape, or if this is a pack.
            BandError: If the spectrum does not reach a singular value of ``w``; the message says which margin, if any
                up to 1, would include them all.
            ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of ``w``.
        """
        if self.trials is not None or w.shape != (self.rows, self.cols):
            holder = "a single trial" if self.trials is None else f"a pack of {self.trials} trials"
            raise ShapeError(
                f"w must have shape {(self.rows, self.cols)}, and the module must be a single trial; "
                f"found shape {tuple(w.shape)} and {holder}"
            )
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
        """Return an SVD whose matrix equals ``w`` up to rounding, on its device and in its dtype.

        The result is a plain SVD, also when this is called on a subclass such as SpectralLinear.

        Args:
            w: The matrix, shape (rows, cols).
            reflectors: As in SVD; None is the full number, min(rows, cols), which reaches all singular vectors.
            margin: As in SVD; with ``sigmoid`` and ``clip`` all singular values of ``w`` must lie in the band.
            sigma: As in SVD.
            spectrum: As in SVD; ``penalty`` reaches all singular values.

        Raises:
            ShapeError: If ``w`` does not have two dimensions.
            SpectralError: As the constructor and ``set_dense`` do.
        """
        if w.dim() != 2:
            raise ShapeError(f"w must have two dimensions, (rows, cols); found shape {tuple(w.shape)}")
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
        """Return what ``repr`` shows in brackets: rows, cols, spectrum, number of trials, and the slots."""
        slots = self.slots[0] if self.trials is None else self.slots
        return f"{self.rows}, {self.cols}, spectrum={self.spectrum!r}, trials={self.trials}, {slots}"

    def _vectors(self, x: Tensor, size: int) -> Tensor:
        """Return vectors x (..., size), or (K, ..., size) in a pack, as rows of (N, size), or (K, N, size).

        Raises:
            ShapeError: If x has another last dimension than ``size``, or in a pack another first one than K.
        """
        lead = () if self.trials is None else (self.trials,)
        if x.shape[-1:] != (size,) or x.shape[: len(lead)] != lead or x.dim() <= len(lead):
            expected = ", ".join([*map(str, lead), "...", str(size)])
            raise ShapeError(f"vectors must have shape ({expected}); found {tuple(x.shape)}")
        return x.reshape(*lead, math.prod(x.shape[len(lead) : -1]), size)

    @staticmethod
    def _scale(x: Tensor, sigma: Tensor, size: int) -> Tensor:
        """Multiply entry i < k of each row by sigma_i and fill up with zeros: (..., N, >= k) -> (..., N, size)."""
        small = sigma.shape[-1]
        return nn.functional.pad(x[..., :small] * sigma.unsqueeze(-2), (0, size - small))

    def _check_square(self, what: str) -> None:
        """Raise ShapeError unless the matrix is square; ``what``, such as "an inverse", is used in the message."""
        if self.rows != self.cols:
            raise ShapeError(f"only a square matrix has {what}; this one is {self.rows} x {self.cols}")


def parameters_of(w: Tensor, slot: Slot, spectrum: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the parameters with which the matrix of an SVD equals ``w`` up to rounding.

    Args:
        w: The matrix, shape (rows, cols).
        slot: The numbers of reflectors, the margin and sigma that the SVD has.
        spectrum: The name of its map of singular values, one of SPECTRA.

    Returns:
        Reflectors u (rows, m1) and v (cols, m2), and raw singular values (k,), None for ``fixed``, which has none.

    Raises:
        BandError: If the map does not reach a singular value of ``w``.
        ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of ``w``.
    """
    u, sigma, v_t = torch.linalg.svd(w, full_matrices=False)
    centre, margin = sigma.new_tensor(slot.sigma), sigma.new_tensor(slot.margin)
    raw = singular_values.inverse_singular_map(spectrum, sigma, centre, margin)
    m1, m2 = slot.reflectors
    return reflectors_of(u, m1), reflectors_of(v_t.mT, m2), raw


def _initial_reflectors(
    start: str, rows: int, cols: int, counts: tuple[int, int], generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw u (rows, m1) and v (cols, m2).

    Raises:
        OptionError: If the matrix is square and there is no initialisation ``start``.
        ReflectorCountError: If it needs other numbers of reflectors or a square matrix.
    """
    if rows == cols:
        return init.reflectors(start, rows, counts, generator=generator)
    if start != "gaussian":
        raise ReflectorCountError(
            f"start {start!r} needs a square matrix; this one is {rows} x {cols}. Pass start='gaussian'"
        )
    u = init.gaussian(rows, counts[0], generator=generator)
    return u, init.gaussian(cols, counts[1], generator=generator)
