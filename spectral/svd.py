"""SVD: a matrix held as U diag(sigma) V^T, square or rectangular, a single one or a pack of K."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from typing_extensions import deprecated

from spectral import singular_values
from spectral.autocast import HALVES, autocast_is_on, computing_dtype, result_dtype, without_autocast
from spectral.deprecation import renamed_keyword
from spectral.errors import PackError, ReflectorCountError, ShapeError
from spectral.householder import wy
from spectral.householder.decompose import reflectors_of
from spectral.init import InitName, gaussian
from spectral.init import reflectors as initial_reflectors
from spectral.pack import PackableModule, Slot, reflector_counts
from spectral.singular_values import Spectrum


class SVD(PackableModule):
    """The matrix W = U_k diag(sigma) V_k^T of shape rows x cols, k = min(rows, cols): a reduced SVD.

    From Zhang et al. 2018. Parameters: ``reflectors_u`` (rows, m1), ``reflectors_v`` (cols, m2), and, unless the
    spectrum is ``fixed``, ``singular`` (k), from which ``spectral.singular_map`` computes sigma. In a pack every
    parameter, input and result has a leading axis K.

    U, sigma and V are formed in float32 or float64, also under autocast and if the parameters are in half precision.
    Vectors are returned in the dtype in which ``torch.nn.Linear`` returns them.

    Args:
        rows: The number of rows.
        cols: The number of columns.
        reflectors: m for both sides, or (m1, m2), each from 0 to k. None means k, which reaches every U_k and V_k.
        margin: r in (0, 1]: singular values stay in [sigma - r, sigma + r]. ``penalty`` and ``fixed`` do not use it.
        sigma: The centre of that band, >= 0, and the value of every singular value at the start.
        spectrum: ``sigmoid`` and ``clip`` keep singular values in the band, ``penalty`` leaves them free, and ``fixed``
            holds them all at sigma; see ``spectral.singular_map``.
        init: The initial reflectors: ``gaussian``, or for a square matrix also ``identity``, ``henaff`` or ``cayley``;
            see init.py.
        generator: The CPU generator that draws the first values; None is torch's default.
        device: The device of the parameters.
        dtype: The dtype of the parameters, a real one; None is torch's default.

    Raises:
        OptionError: If ``spectrum``, ``init`` or ``dtype`` has none of these values.
        RangeError: If the margin or sigma is out of range, or if the margin is less than the rounding of ``dtype``.
        ReflectorCountError: If m1 or m2 is not an integer from 0 to k, or if ``init`` needs other numbers or a square
            matrix.
        ShapeError: If there is no row or no column, or if ``reflectors`` is neither one number nor two. The methods
            raise it for vectors of a wrong shape or dtype.
    """

    _shared_options: ClassVar[tuple[str, ...]] = ("rows", "cols")
    _first_reflectors = "reflectors_u"
    reflectors_u: Tensor
    reflectors_v: Tensor
    singular: Tensor | None

    @renamed_keyword("start", "init")
    def __init__(
        self,
        rows: int,
        cols: int,
        *,
        reflectors: int | tuple[int, int] | None = None,
        margin: float = 0.01,
        sigma: float = 1.0,
        spectrum: Spectrum = "sigmoid",
        init: InitName = "gaussian",
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
        self.rows, self.cols, self.init = rows, cols, init
        self._set_parameters(self._initial_values(generator), device, dtype)
        self._set_band()

    @torch.no_grad()
    def reset_parameters(self, *, generator: torch.Generator | None = None) -> None:
        """Draw initial values again, as the constructor does. Not for packs.

        Raises:
            PackError: If this is a pack, whose trials may have started differently.
        """
        if self.trials is not None:
            raise PackError("the trials of a pack start one by one; call reset_parameters on each, then pack them")
        for name, value in self._initial_values(generator).items():
            if value is not None:
                getattr(self, name).copy_(value)

    def forward(self, x: Tensor) -> Tensor:
        """Return W x for each vector x: (..., cols) -> (..., rows). Cost: 4 (cols m2 + rows m1) flop a vector."""
        inner = wy.apply_transposed(self.reflectors_v, self._vectors(x, self.cols))
        y = wy.apply(self.reflectors_u, self._scale(inner, self.singular_values(), self.rows))
        return self._result(y).reshape(*x.shape[:-1], self.rows)

    def transposed(self, y: Tensor) -> Tensor:
        """Return W^T y for each vector y: (..., rows) -> (..., cols)."""
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        x = wy.apply(self.reflectors_v, self._scale(inner, self.singular_values(), self.cols))
        return self._result(x).reshape(*y.shape[:-1], self.cols)

    def solve(self, y: Tensor) -> Tensor:
        """Return W^-1 y for each vector y: (..., n) -> (..., n). Only for a square matrix.

        If some sigma_i are exactly 0, W has no inverse. No error is raised; the result is then the limit for these
        sigma_i tending to 0 from above, all alike. With d = sum of (u_i . y) v_i over them, entry k is infinite, with
        the sign of d_k, where d_k is not 0, and elsewhere that of the solution without them. Rounding can make a d_k of
        0 differ from it. The result is nan only if y or a parameter is not finite. Infinite entries have zero gradient.

        Raises:
            ShapeError: If the matrix is not square, or the vectors have another size than n.
        """
        self._check_square("an inverse")
        inner = wy.apply_transposed(self.reflectors_u, self._vectors(y, self.rows))
        sigma, right = self.singular_values().unsqueeze(-2), wy.factor(self.reflectors_v)
        if not self._may_be_singular():
            return self._result(wy.apply(right, inner / sigma)).reshape(y.shape)
        is_zero = sigma == 0
        x = wy.apply(right, (inner / sigma.masked_fill(is_zero, 1.0)).masked_fill(is_zero, 0.0))
        with torch.no_grad():
            grows = wy.apply(right, inner.masked_fill(~is_zero, 0.0))
        return self._result(torch.where(grows == 0, x, grows * torch.inf)).reshape(y.shape)

    def logabsdet(self) -> Tensor:
        """Return log |det W| of a square matrix, shape () or (K,); -inf if a sigma_i is 0. Cost: n flop.

        For a trial with spectrum='sigmoid' and margin = sigma, whose band ends at 0, log sigma_i is computed from the
        raw parameter p_i, as log(2 sigma) + log sigmoid(p_i), so that it and its slope are finite for every p_i.
        Otherwise the slope is not finite where a sigma_i is 0.

        Raises:
            ShapeError: If the matrix is not square.
        """
        self._check_square("a determinant")
        values, ends_at_zero = self.singular_values(), [slot.margin == slot.sigma for slot in self.slots]
        if self.spectrum != "sigmoid" or self.singular is None or not any(ends_at_zero):
            return values.abs().log().sum(-1)
        log_share = nn.functional.logsigmoid(self.singular.to(values.dtype))
        logs = self._band.high.log() + log_share
        if not all(ends_at_zero):
            rows = torch.tensor(ends_at_zero, device=values.device).unsqueeze(-1)
            logs = torch.where(rows, logs, values.masked_fill(rows, 1.0).abs().log())
        return logs.sum(-1)

    @deprecated("log_abs_det is now named logabsdet; the old name goes with the next release")
    def log_abs_det(self) -> Tensor:
        """Return ``logabsdet()``."""
        return self.logabsdet()

    def dense(self) -> Tensor:
        """Return W as a tensor, (rows, cols) or (K, rows, cols), in the dtype of the parameters, also under autocast.

        Cost: 2 k (rows (m1 + cols) + cols m2) flop.
        """
        small = min(self.rows, self.cols)
        with without_autocast(self.reflectors_u.device):
            left = wy.dense(self.reflectors_u, small) * self.singular_values().unsqueeze(-2)
            return (left @ wy.dense(self.reflectors_v, small).mT).to(self.reflectors_u.dtype)

    def singular_values(self) -> Tensor:
        """Return sigma, (k,) or (K, k), not sorted; in float32 if the parameters are in half precision.

        A value can be negative where its band or spectrum allows it.
        """
        return self._singular_map(self.singular, min(self.rows, self.cols))

    def penalty(self) -> Tensor:
        """Return the sum of (sigma_i - sigma*)^2 over i, shape () or (K,); sigma* is the argument ``sigma``.

        With spectrum='penalty', add a multiple of it to the loss.
        """
        return singular_values.penalty(self.singular_values(), self._sigma)

    def free_parameters(self, k: int = 0) -> int:
        """Return the number of free parameters of trial k, without padding and the zeros of the reflectors.

        Those of a full set, m = min(rows, cols) of a square matrix, include one number that is only a sign. Parameters
        that do not require gradients count too.
        """
        m1, m2 = self.slots[k].reflectors
        values = 0 if self.spectrum == "fixed" else min(self.rows, self.cols)
        return self.rows * m1 + self.cols * m2 - (m1 * m1 + m2 * m2 - m1 - m2) // 2 + values

    @torch.no_grad()
    def set_dense(self, w: Tensor) -> None:
        """Set the parameters so that the matrix equals ``w`` up to rounding. Not for packs.

        A reflector that ``w`` does not need becomes zero, which is the identity. A zero reflector has zero gradient, so
        training does not change it. If an error is raised, the parameters are as before.

        Args:
            w: The matrix, shape (rows, cols), on any device and in any real dtype.

        Raises:
            ShapeError: If ``w`` has another shape or is complex, or if this is a pack.
            BandError: If the spectrum does not reach a singular value of ``w``; the message says which margin, if any
                up to 1, would include them all. Values outside the band by no more than rounding are taken for its
                edge.
            ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of ``w``.
        """
        if self.trials is not None or w.shape != (self.rows, self.cols) or w.is_complex():
            holder = "a single trial" if self.trials is None else f"a pack of {self.trials} trials"
            raise ShapeError(
                f"w must be real and have shape {(self.rows, self.cols)}, and the module must be a single trial; "
                f"found shape {tuple(w.shape)}, {w.dtype} and {holder}"
            )
        like = self.reflectors_u
        w = w.to(like.device, w.dtype if w.dtype in HALVES else self._computing_dtype)
        u, v, raw = parameters_of(w, self.slots[0], self.spectrum)
        like.copy_(u)
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
        """Return what ``repr`` shows in brackets: the shape, the spectrum, and the options of each trial."""
        slots = [f"reflectors={slot.reflectors}, margin={slot.margin}, sigma={slot.sigma}" for slot in self.slots]
        each = slots[0] if self.trials is None else f"trials={self.trials}, " + "; ".join(slots)
        return f"rows={self.rows}, cols={self.cols}, spectrum={self.spectrum!r}, {each}"

    def _vectors(self, x: Tensor, size: int) -> Tensor:
        """Return vectors x (..., size), or (K, ..., size) in a pack, as rows of (N, size), or (K, N, size).

        They have the dtype in which matrices are formed, or under autocast also a half one, as x has.

        Raises:
            ShapeError: If x has another last dimension than ``size``, or in a pack another first one than K, or
                another dtype than the parameters while autocast is off.
        """
        lead = () if self.trials is None else (self.trials,)
        if x.shape[-1:] != (size,) or x.shape[: len(lead)] != lead or x.dim() <= len(lead):
            expected = ", ".join([*map(str, lead), "...", str(size)])
            raise ShapeError(f"vectors must have shape ({expected}); found {tuple(x.shape)}")
        own = self.reflectors_u.dtype
        casts = x.is_floating_point() and autocast_is_on(x.device)
        if x.dtype != own and not casts:
            raise ShapeError(
                f"vectors must be of {own}, as the parameters are; found {x.dtype}. Convert the vectors or the module "
                "with .to(...)"
            )
        if not casts or x.dtype not in HALVES:
            x = x.to(computing_dtype(own))
        return x.reshape(*lead, math.prod(x.shape[len(lead) : -1]), size)

    def _result(self, x: Tensor) -> Tensor:
        """Return vectors in the dtype in which ``torch.nn.Linear`` returns them."""
        return x.to(result_dtype(self.reflectors_u.dtype, x.device))

    @staticmethod
    def _scale(x: Tensor, sigma: Tensor, size: int) -> Tensor:
        """Multiply entry i < k of each row by sigma_i and fill up with zeros: (..., N, >= k) -> (..., N, size)."""
        small = sigma.shape[-1]
        return nn.functional.pad(x[..., :small] * sigma.unsqueeze(-2), (0, size - small))

    def _may_be_singular(self) -> bool:
        """Whether a singular value can be 0: whether 0 lies in the band, or singular values are free."""
        if self.spectrum == "fixed":
            return any(slot.sigma == 0 for slot in self.slots)
        return self.spectrum == "penalty" or any(slot.margin >= slot.sigma for slot in self.slots)

    def _check_square(self, what: str) -> None:
        """Raise ShapeError unless the matrix is square; ``what``, such as "an inverse", is used in the message."""
        if self.rows != self.cols:
            raise ShapeError(f"only a square matrix has {what}; this one is {self.rows} x {self.cols}")

    def _initial_values(self, generator: torch.Generator | None) -> dict[str, Tensor | None]:
        """Draw the parameters of a single trial, by name; None where it has no such parameter."""
        u, v = _initial_reflectors(self.init, self.rows, self.cols, self.slots[0].reflectors, generator)
        return {"reflectors_u": u, "reflectors_v": v, "singular": self._initial_singular(min(self.rows, self.cols))}


def parameters_of(w: Tensor, slot: Slot, spectrum: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the parameters with which the matrix of an SVD equals ``w`` up to rounding.

    Args:
        w: The matrix, shape (rows, cols).
        slot: The numbers of reflectors, the margin and sigma that the SVD has.
        spectrum: The name of its map of singular values, one of SPECTRA.

    Returns:
        Reflectors u (rows, m1) and v (cols, m2), and raw singular values (k,), None for ``fixed``, which has none; in
        float32 if ``w`` is in half precision.

    Raises:
        BandError: If the map does not reach a singular value of ``w``.
        ReflectorCountError: If m1 or m2 reflectors cannot form the singular vectors of ``w``.
    """
    with without_autocast(w.device):
        u, sigma, v_t = torch.linalg.svd(w.to(computing_dtype(w.dtype)), full_matrices=False)
        centre, margin = sigma.new_tensor(slot.sigma), sigma.new_tensor(slot.margin)
        raw = singular_values.inverse_singular_map(spectrum, sigma, centre, margin, given_in=w.dtype)
        m1, m2 = slot.reflectors
        return reflectors_of(u, m1), reflectors_of(v_t.mT, m2), raw


def _initial_reflectors(
    init: str, rows: int, cols: int, counts: tuple[int, int], generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Draw u (rows, m1) and v (cols, m2).

    Raises:
        OptionError: If the matrix is square and there is no initialisation ``init``.
        ReflectorCountError: If it needs other numbers of reflectors or a square matrix.
    """
    if rows == cols:
        return initial_reflectors(init, rows, counts, generator=generator)
    if init != "gaussian":
        raise ReflectorCountError(
            f"init {init!r} needs a square matrix; this one is {rows} x {cols}. Pass init='gaussian'"
        )
    return gaussian(rows, counts[0], generator=generator), gaussian(cols, counts[1], generator=generator)
