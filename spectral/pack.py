"""Packs: K trials, that is separately built modules of one kind, stacked into one module along a leading axis."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from spectral import init, singular_values, state
from spectral.autocast import computing_dtype
from spectral.errors import OptionError, PackError, ShapeError
from spectral.householder.wy import normalize_all_reflectors_
from spectral.pretrained import PretrainedModule
from spectral.roles import ParameterRole, direct_parameter_role
from spectral.singular_values import Band
from spectral.stacking import check_trial, stack_trials

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
"""The dtypes that parameters may have."""


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
                ``penalty`` and ``fixed`` do not use the margin, so it is not checked with them. Whether the margin is
                more than rounding depends on the dtype; see ``spectral.singular_values.check_resolution``.
        """
        singular_values.check_spectrum(spectrum)
        for count, name in zip(self.reflectors, ("m1", "m2"), strict=True):
            init.check_reflectors(size, count, name)
        singular_values.check_sigma(self.sigma)
        if spectrum in singular_values.BANDED:
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


class PackableModule(PretrainedModule):
    """A module with spectral matrices that holds one trial, or a pack of K trials.

    In a pack every parameter has a leading trial axis of size K. Names of parameters that begin with ``reflectors_u``
    and ``reflectors_v`` are raw reflectors, those that begin with ``singular`` are raw singular values.

    The state dict has the configuration as its extra state: the spectrum, and of each trial the numbers of reflectors,
    sigma and, where it is used, the margin. ``load_state_dict`` raises StateMismatchError if that of the saved module
    was another one. A state dict without it, as earlier versions wrote, is loaded as it is.
    """

    _shared_options: ClassVar[tuple[str, ...]] = ()
    """The names of the attributes, beside ``spectrum`` and ``training``, that must be equal in all trials of a pack."""
    parameter_roles: ClassVar[Mapping[str, ParameterRole]] = {
        "reflectors_u": "reflector",
        "reflectors_v": "reflector",
        "singular": "singular_value",
    }
    """The roles of the direct parameters, without a layer's suffix; see ``spectral.parameter_roles``."""
    _first_reflectors: ClassVar[str] = "reflectors_u_l0"
    """The name of a tensor of raw reflectors, from which the dtype and the device of the module are read."""
    _stored_band: Band | None = None

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

    @torch.no_grad()
    def set_trial(self, k: int, trial: Self) -> None:
        """Put a separate module in the place of trial k of this pack; values are copied, in place.

        Parameters and the band of singular values stay the tensors that they are, so that an optimiser, or a CUDA graph
        that was captured with them, goes on with the new trial. A smaller set of reflectors is padded, as by ``pack``.

        Args:
            k: The place, from 0 to K - 1.
            trial: A single trial that agrees with this pack in what the trials of a pack must agree in.

        Raises:
            PackError: If this is not a pack or ``trial`` is one, if k does not lie in [0, K), if the two differ in what
                must agree, or if ``takes(trial)`` is false.
        """
        check_trial(k, self.trials)
        for name in (*self._shared_options, "spectrum", "training"):
            if getattr(self, name) != getattr(trial, name):
                raise PackError(
                    f"trials of a pack must agree in {name}; found {getattr(self, name)} and {getattr(trial, name)}"
                )
        if not self.takes(trial):
            raise PackError(
                "the trial does not fit into this pack: it is a pack itself, has more reflectors than the pack has "
                "room for, or has sigma 0 while no trial of the pack has; make a new pack of all trials"
            )
        for name, own in trial.named_parameters():
            place = getattr(self, name)[k]
            place.zero_()
            place[..., : own.shape[-1]].copy_(own)
        self.slots = (*self.slots[:k], trial.slots[0], *self.slots[k + 1 :])
        before, after = self._band, self._make_band()
        for kept, new in zip(before, after, strict=True):
            if kept is not None:
                kept.copy_(torch.zeros_like(kept) if new is None else new)

    def takes(self, trial: Self) -> bool:
        """Return whether ``set_trial`` has room for a single trial: for its reflectors, and for sigma 0 if it has that.

        A pack is made for a band around zero if one of its trials has one.
        """
        if trial.trials is not None or (trial.slots[0].sigma == 0 and all(slot.sigma != 0 for slot in self.slots)):
            return False
        return all(own.shape[-1] <= getattr(self, name).shape[-1] for name, own in trial.named_parameters())

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
        normalize_all_reflectors_(self.reflector_parameters())

    def _parameters_of(self, role: ParameterRole) -> Iterator[nn.Parameter]:
        """Return the parameters of one role that this module holds itself, not in a submodule."""
        return (p for name, p in self.named_parameters(recurse=False) if direct_parameter_role(self, name) == role)

    @property
    def _like(self) -> Tensor:
        """A tensor with the module's dtype and device: a parameter, or a buffer if parameters were made buffers."""
        tensor: Tensor = getattr(self, self._first_reflectors)
        return tensor

    @property
    def _computing_dtype(self) -> torch.dtype:
        """The dtype in which matrices are formed: that of the parameters, but float32 for half and bfloat16."""
        return computing_dtype(self._like.dtype)

    @property
    def _sigma(self) -> Tensor:
        """sigma* of each trial, shape () or (K,), in the dtype in which matrices are formed."""
        return self._band.sigma.squeeze(-1)

    def _singular_map(self, raw: Tensor | None, size: int) -> Tensor:
        """Return ``size`` singular values from raw ones, both of shape (size,) or (K, size).

        ``raw`` is None with spectrum='fixed'. The result has the dtype in which matrices are formed.
        """
        raw = None if raw is None else raw.to(computing_dtype(raw.dtype))
        return singular_values.map_into(self.spectrum, raw, self._band, size)

    def _initial_singular(self, size: int) -> Tensor | None:
        """Return ``size`` raw values at which every singular value is sigma*; None for spectrum='fixed'."""
        if self.spectrum == "fixed":
            return None
        start = 0.0 if self.spectrum == "sigmoid" else self.slots[0].sigma
        return torch.full((size,), start, dtype=torch.float64, device="cpu")

    def _set_parameters(
        self, values: dict[str, Tensor | None], device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Register a parameter for each name; a value None registers None.

        Args:
            values: The first values, on the CPU.
            device: The device of the parameters; None is torch's default one.
            dtype: Their dtype; None is torch's default one.

        Raises:
            OptionError: If modules cannot have this dtype.
            RangeError: If a margin is less than the rounding of this dtype.
        """
        device, dtype = device or torch.get_default_device(), dtype or torch.get_default_dtype()
        if not self._parameters:
            self._check_dtype(dtype)
        for name, value in values.items():
            parameter = None if value is None else nn.Parameter(value.to(device=device, dtype=dtype))
            self.register_parameter(name, parameter)

    def _check_dtype(self, dtype: torch.dtype) -> None:
        """Raise if modules cannot have a dtype, or if a margin is less than its rounding; warn if it is hardly more."""
        if dtype not in DTYPES:
            raise OptionError(
                f"dtype must be one of {', '.join(map(str, DTYPES))}; found {dtype}. Matrices are real: for complex "
                "numbers use two modules, one for each part"
            )
        if self.spectrum in singular_values.BANDED:
            for sigma, margin in {(slot.sigma, slot.margin) for slot in self.slots}:
                singular_values.check_resolution(sigma, margin, computing_dtype(dtype))

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

    @property
    def _band(self) -> Band:
        """The band of each trial, on the device and in the dtype in which matrices are formed."""
        band, like = self._stored_band, self._like
        if band is not None and band.sigma.device == like.device and band.sigma.dtype == computing_dtype(like.dtype):
            return band
        return self._make_band()  # the parameters were replaced by others, as torch.func.functional_call does

    def _make_band(self) -> Band:
        """Make the band's tensors from the slots. Making them anew means that no cast to half precision rounds them."""
        sigmas, margins = [slot.sigma for slot in self.slots], [slot.margin for slot in self.slots]
        like, single = self._like, self.trials is None
        return Band.of_trials(sigmas, margins, single=single, device=like.device, dtype=computing_dtype(like.dtype))

    def _set_band(self) -> None:
        """Store the band's tensors, so that a forward pass makes none.

        They are a plain attribute, not buffers: they follow from the slots and the parameters' device and dtype.
        """
        with torch.inference_mode(False):
            self._stored_band = self._make_band()

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Move or cast the module as torch does, and make the band's tensors again to match.

        Raises:
            OptionError, RangeError: If the module cannot have the new dtype; its parameters are then as before.
        """
        like = self._like
        dtype = fn(like.detach().new_empty(0)).dtype
        if dtype != like.dtype:
            self._check_dtype(dtype)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_band()
        return self

    def get_extra_state(self) -> Tensor:
        """Return what the state dict holds beside the parameters: the configuration, as the bytes of JSON."""
        return state.encode(self._configuration())

    def set_extra_state(self, stored: Any) -> None:
        """Raise StateMismatchError unless ``stored`` is the configuration of this module."""
        state.check(stored, self._configuration(), type(self).__name__)

    def _configuration(self) -> state.Configuration:
        """Return what the matrices depend on beside the parameters, in values of JSON."""
        banded = self.spectrum in singular_values.BANDED
        return {
            "spectrum": self.spectrum,
            "reflectors": [slot.reflectors for slot in self.slots],
            "sigma": [slot.sigma for slot in self.slots],
            **({"margin": [slot.margin for slot in self.slots]} if banded else {}),
        }

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        """Load as torch does, but check the configuration before any parameter changes, and do not require it."""
        key = f"{prefix}_extra_state"
        if key in state_dict:
            self.set_extra_state(state_dict[key])
        arguments = (state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        super()._load_from_state_dict(*arguments)
        if key in missing_keys:
            missing_keys.remove(key)
        self._set_band()  # with assign=True the parameters may have another device and dtype now
