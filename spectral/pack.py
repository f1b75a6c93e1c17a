"""Packs: K trials, that is separately built modules of one kind, stacked into one module along a leading axis."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from spectral import init, singular_values
from spectral.errors import PackError, ShapeError
from spectral.householder import normalize_reflectors_
from spectral.pretrained import PretrainedModule
from spectral.roles import ParameterRole, direct_parameter_role


@dataclass(frozen=True)
class Slot:
    """Holds and checks the numbers of reflectors, the margin and sigma of one trial.

    These are the only options in which the trials of a pack may differ.
    """

    reflectors: tuple[int, int]
    """(m1, m2): the numbers of reflectors of U and of V."""
    margin: float
    """r: how far a singular value may be from ``sigma``; not used by the spectra ``penalty`` and ``fixed``."""
    sigma: float
    """sigma*: the centre of the band of singular values."""

    def check(self, size: int, spectrum: str) -> None:
        """Raise if ``spectrum``, a number of reflectors, sigma or the margin is not allowed.

        Args:
            size: The smaller side of the matrix, which is the largest number of reflectors on either side.
            spectrum: The name of the map of singular values, one of SPECTRA.

        Raises:
            OptionError: If there is no map of that name.
            ReflectorCountError: If a number of reflectors is not an integer in [0, size].
            RangeError: If sigma is negative or not finite, or if the margin does not lie in (0, 1]. The spectra
                ``penalty`` and ``fixed`` do not use the margin, so it is not checked with them.
        """
        singular_values.check_spectrum(spectrum)
        for count, name in zip(self.reflectors, ("m1", "m2"), strict=True):
            init.check_reflectors(size, count, name)
        singular_values.check_sigma(self.sigma)
        if spectrum in ("sigmoid", "clip"):
            singular_values.check_margin(self.margin)


def reflector_counts(reflectors: int | tuple[int, int]) -> tuple[int, int]:
    """Return (m1, m2) from one integer m for both sides, as (m, m), or from a tuple or list of two.

    Whether a number is possible is not checked here; ``Slot.check`` does that.

    Raises:
        ShapeError: If ``reflectors`` is neither an integer nor a tuple or list of length 2.
    """
    if isinstance(reflectors, int):
        return reflectors, reflectors
    if not isinstance(reflectors, tuple | list) or len(reflectors) != 2:
        raise ShapeError(f"reflectors must be one integer, m, or two, (m1, m2); found {reflectors!r}")
    return reflectors[0], reflectors[1]


def stack_trials(tensors: Sequence[Tensor]) -> Tensor:
    """Return one tensor of each trial stacked along a new first axis, the shorter ones padded with zeros at their end.

    Only the last dimension is padded, to the largest size found. This fits every parameter of this package: only
    reflectors differ in size, namely in their number, and a zero column is the identity. It fits whatever has a
    parameter's shape too, such as the moments of an optimiser.

    Args:
        tensors: K tensors that agree in dtype, in device and in all dimensions but the last; or K tensors without
            dimensions.

    Returns:
        A tensor of shape (K, ..., largest last dimension), or (K,) for tensors without dimensions.

    Raises:
        PackError: If there are no tensors, or if they differ in dtype, in device or in another dimension.
    """
    if not tensors:
        raise PackError("a pack needs at least one trial; found none")
    heads = {tuple(t.shape[:-1]) for t in tensors}
    kinds = {(t.dtype, t.device) for t in tensors}
    if len(heads) > 1 or len(kinds) > 1:
        raise PackError(
            "trials of a pack must agree in dtype, in device and in shape except for the last dimension; "
            f"found shapes without the last dimension {heads}, and dtypes and devices {kinds}"
        )
    width = max(t.shape[-1] if t.dim() else 0 for t in tensors)
    return torch.stack([nn.functional.pad(t, (0, width - t.shape[-1])) if t.dim() else t for t in tensors])


def check_trial(k: int, trials: int | None) -> None:
    """Raise PackError unless 0 <= k < ``trials``, or if ``trials`` is None, which means that the module is no pack."""
    if trials is None:
        raise PackError("this module is a single trial, not a pack, so it has no trial to take out; use it directly")
    if not 0 <= k < trials:
        raise PackError(f"k, the number of a trial in this pack, must be from 0 to {trials - 1}; found {k}")


class PackableModule(PretrainedModule):
    """A module with spectral matrices that holds one trial, or a pack of K trials.

    In a pack every parameter has a leading trial axis of size K. Names of parameters that begin with ``reflectors_u``
    and ``reflectors_v`` are raw reflectors, those that begin with ``singular`` are raw singular values.
    """

    _shared_options: ClassVar[tuple[str, ...]] = ()
    """The names of the attributes, beside ``spectrum`` and ``training``, that must be equal in all trials of a pack."""
    parameter_roles: ClassVar[Mapping[str, ParameterRole]] = {
        "reflectors_u": "reflector",
        "reflectors_v": "reflector",
        "singular": "singular_value",
    }
    """The roles of the direct parameters, without a layer's suffix; see ``spectral.parameter_roles``."""
    _margin: Tensor
    _sigma: Tensor

    def __init__(self, slot: Slot, spectrum: str) -> None:
        super().__init__()
        self.spectrum = spectrum
        self.slots: tuple[Slot, ...] = (slot,)
        """Numbers of reflectors, margin and sigma of each trial; one entry if this is not a pack."""
        self.trials: int | None = None
        """K for a pack, None for a single trial."""

    @classmethod
    def pack(cls, trials: Sequence[Self]) -> Self:
        """Make one pack of separately built modules; values are copied.

        Numbers of reflectors, margins and sigma may differ. Shorter sets of reflectors are padded with zero columns,
        which are the identity and get a gradient of exactly 0. Sizes, all other options, dtype, device and training
        mode must agree. Which parameters require gradients is taken from the first trial.

        Args:
            trials: Single trials, of which none is a pack.

        Returns:
            A module whose parameters have a leading axis of size ``len(trials)``.

        Raises:
            PackError: If there are no trials, if one is a pack, or if they differ in what must agree.
        """
        if not trials:
            raise PackError("a pack needs at least one trial; found none")
        if any(trial.trials is not None for trial in trials):
            raise PackError("a pack is made of single trials; take them out of their packs first with .trial(k)")
        for name in (*cls._shared_options, "spectrum", "training"):
            found = {getattr(trial, name) for trial in trials}
            if len(found) > 1:
                raise PackError(f"trials of a pack must agree in {name}; found {sorted(map(str, found))}")
        named = [dict(trial.named_parameters()) for trial in trials]
        values = {name: stack_trials([parameters[name].detach() for parameters in named]) for name in named[0]}
        return trials[0]._copy_with(values, tuple(slot for trial in trials for slot in trial.slots), len(trials))

    def trial(self, k: int) -> Self:
        """Return trial k of a pack as a separate module without padding; values are copied.

        Raises:
            PackError: If this is not a pack, or if k does not lie in [0, K); a negative k does not count from the end.
        """
        check_trial(k, self.trials)
        m1, m2 = self.slots[k].reflectors
        values = {}
        for name, parameter in self.named_parameters():
            width = m1 if name.startswith("reflectors_u") else m2 if name.startswith("reflectors_v") else None
            values[name] = parameter.detach()[k, ..., :width].clone()
        return self._copy_with(values, (self.slots[k],), None)

    def reflector_parameters(self) -> Iterator[nn.Parameter]:
        """Return an iterator of the raw reflectors, for a parameter group with a learning rate for them alone."""
        return self._parameters_of("reflector")

    def singular_parameters(self) -> Iterator[nn.Parameter]:
        """Return an iterator of the raw singular values, for a parameter group with a learning rate for them alone.

        It is empty with spectrum='fixed'. The slope of the sigmoid map at its centre is margin / 2, so with ``sigmoid``
        their learning rate should be proportional to 1 / margin.
        """
        return self._parameters_of("singular_value")

    def normalize_(self) -> None:
        """Scale every reflector to length 1, in place; zero reflectors stay zero. Call it after an optimiser's step.

        No matrix of the module changes. The loss does not depend on the lengths, so an optimiser lets them grow, and
        the growing lengths make its steps smaller.
        """
        for raw in self.reflector_parameters():
            normalize_reflectors_(raw)

    def _parameters_of(self, role: ParameterRole) -> Iterator[nn.Parameter]:
        """Return the parameters of one role that this module holds itself, not in a submodule."""
        return (p for name, p in self.named_parameters(recurse=False) if direct_parameter_role(self, name) == role)

    @property
    def _computing_dtype(self) -> torch.dtype:
        """The dtype in which matrices are formed: that of the parameters, but float32 for half and bfloat16."""
        dtype = next(self.parameters()).dtype
        return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype

    def _singular_map(self, raw: Tensor | None, size: int) -> Tensor:
        """Return ``size`` singular values from raw ones, both of shape (size,) or (K, size).

        ``raw`` is None with spectrum='fixed'.
        """
        return singular_values.singular_map(self.spectrum, raw, self._sigma, self._margin, size)

    def _initial_singular(self, size: int) -> Tensor | None:
        """Return ``size`` raw values at which every singular value is sigma*; None for spectrum='fixed'."""
        if self.spectrum == "fixed":
            return None
        start = 0.0 if self.spectrum == "sigmoid" else self.slots[0].sigma
        return torch.full((size,), start, dtype=torch.float64)

    def _set_parameters(
        self, values: dict[str, Tensor | None], device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Register a parameter for each name, in ``dtype`` or else torch's default one; a value None registers None."""
        dtype = dtype or torch.get_default_dtype()
        for name, value in values.items():
            parameter = None if value is None else nn.Parameter(value.to(device=device, dtype=dtype))
            self.register_parameter(name, parameter)

    def _copy_with(self, values: dict[str, Tensor], slots: tuple[Slot, ...], trials: int | None) -> Self:
        """Return a deep copy of this module with other parameter values and other trials.

        Args:
            values: The new value of each parameter that is not None.
            slots: The slots of the copy's trials.
            trials: K, or None if the copy is a single trial.
        """
        other = copy.deepcopy(self)
        for name, value in values.items():
            setattr(other, name, nn.Parameter(value, requires_grad=getattr(self, name).requires_grad))
        other.slots, other.trials = slots, trials
        other._set_band()
        return other

    def _set_band(self) -> None:
        """Register the buffers ``_margin`` and ``_sigma``, on the device and in the dtype of the parameters.

        Each has shape (), or (K,) in a pack. They are made from the slots each time, so that a cast to a lower
        precision and back does not round them.
        """
        like = next(self.parameters())
        for name in ("margin", "sigma"):
            values = [getattr(slot, name) for slot in self.slots]
            value = torch.tensor(values[0] if self.trials is None else values, dtype=like.dtype, device=like.device)
            self.register_buffer(f"_{name}", value, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move or cast the module as torch does, and make ``_margin`` and ``_sigma`` again to match."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_band()
        return self
