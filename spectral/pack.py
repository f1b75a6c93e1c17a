"""What SpectralRNN and SVD share: options that each trial of a pack has of its own, packing, and the band of
sigma.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from spectral import init, packed, singular_values
from spectral.errors import PackError, ShapeError
from spectral.householder import wy
from spectral.roles import ParameterRole
from spectral.roles import parameter_roles as roles_of


@dataclass(frozen=True)
class Slot:
    """What one trial of a pack has of its own."""

    reflectors: tuple[int, int]
    margin: float
    sigma: float

    def check(self, size: int, spectrum: str) -> None:
        """Raises OptionError, ReflectorCountError, RangeError."""
        singular_values.check_spectrum(spectrum)
        for count, name in zip(self.reflectors, ("m1", "m2"), strict=True):
            init.check_reflectors(size, count, name)
        singular_values.check_sigma(self.sigma)
        if spectrum in ("sigmoid", "clip"):
            singular_values.check_margin(self.margin)


def counts(reflectors: int | tuple[int, int]) -> tuple[int, int]:
    """(m1, m2) from one count or two. Raises ShapeError."""
    if isinstance(reflectors, int):
        return reflectors, reflectors
    if not isinstance(reflectors, tuple | list) or len(reflectors) != 2:
        raise ShapeError(f"reflectors must be one count or two, (m1, m2); found {reflectors!r}")
    return reflectors[0], reflectors[1]


class Trials(nn.Module):
    """One trial, or a pack of K whose parameters have a leading trial axis.

    Parameters named reflectors_u... and reflectors_v... are raw reflectors, singular... raw singular values.
    """

    _alike: ClassVar[tuple[str, ...]] = ()
    """Attributes in which the trials of a pack must agree."""
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
        """What each trial has of its own; one entry where this is no pack."""
        self.trials: int | None = None
        """K for a pack, None for one trial."""

    @classmethod
    def pack(cls, trials: Sequence[Self]) -> Self:
        """One module with a leading trial axis from separately built ones; values are copied.

        Reflector counts, margins and sigma may differ: shorter sets are padded with zero columns, which are
        the identity and have gradient exactly 0. Everything else must agree. Raises PackError.
        """
        if not trials:
            raise PackError("a pack needs at least one trial; found none")
        if any(trial.trials is not None for trial in trials):
            raise PackError("a pack is made of single trials; take them out of their packs first with .trial(k)")
        for name in (*cls._alike, "spectrum", "training"):
            found = {getattr(trial, name) for trial in trials}
            if len(found) > 1:
                raise PackError(f"trials of a pack must agree in {name}; found {sorted(map(str, found))}")
        named = [dict(trial.named_parameters()) for trial in trials]
        values = {name: packed.stack_trials([one[name].detach() for one in named]) for name in named[0]}
        return trials[0]._with(values, tuple(slot for trial in trials for slot in trial.slots), len(trials))

    def trial(self, k: int) -> Self:
        """Trial k of a pack as a module of its own, unpadded; values are copied. Raises PackError."""
        packed.check_trial(k, self.trials)
        m1, m2 = self.slots[k].reflectors
        values = {}
        for name, parameter in self.named_parameters():
            width = m1 if name.startswith("reflectors_u") else m2 if name.startswith("reflectors_v") else None
            values[name] = parameter.detach()[k, ..., :width].clone()
        return self._with(values, (self.slots[k],), None)

    def reflector_parameters(self) -> Iterator[nn.Parameter]:
        """The raw reflectors: for a parameter group of their own."""
        return self._parameters_of("reflector")

    def singular_parameters(self) -> Iterator[nn.Parameter]:
        """The raw singular values: the sigmoid map's slope is margin / 2, so their step should grow as 1 /
        margin.
        """
        return self._parameters_of("singular_value")

    @torch.no_grad()
    def normalize_(self) -> None:
        """Every reflector scaled to length 1, which leaves the matrix as it is; for use after an optimiser
        step.

        The loss does not depend on the length, so its gradient only lets it grow, and the steps shrink with
        it.
        """
        for raw in self.reflector_parameters():
            wy.normalize_reflectors_(raw)

    def _parameters_of(self, role: ParameterRole) -> Iterator[nn.Parameter]:
        """Return the parameters of one role."""
        roles = roles_of(self)
        return (parameter for name, parameter in self.named_parameters() if roles[name] == role)

    def _spectrum_of(self, raw: Tensor | None, size: int) -> Tensor:
        return singular_values.singular_map(self.spectrum, raw, self._sigma, self._margin, size)

    def _first_singular(self, size: int) -> Tensor | None:
        """The raw value at which every singular value is sigma*."""
        if self.spectrum == "fixed":
            return None
        start = 0.0 if self.spectrum == "sigmoid" else self.slots[0].sigma
        return torch.full((size,), start, dtype=torch.float64)

    def _set_parameters(
        self,
        values: dict[str, Tensor | None],
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        dtype = dtype or torch.get_default_dtype()
        for name, value in values.items():
            parameter = None if value is None else nn.Parameter(value.to(device=device, dtype=dtype))
            self.register_parameter(name, parameter)

    def _with(self, values: dict[str, Tensor], slots: tuple[Slot, ...], trials: int | None) -> Self:
        other = copy.deepcopy(self)
        for name, value in values.items():
            setattr(other, name, nn.Parameter(value, requires_grad=getattr(self, name).requires_grad))
        other.slots, other.trials = slots, trials
        other._set_band()
        return other

    def _set_band(self) -> None:
        """margin and sigma* as tensors beside the parameters; the slots stay their source, so no cast rounds
        them.
        """
        like = next(self.parameters())
        for name in ("margin", "sigma"):
            own = [getattr(slot, name) for slot in self.slots]
            value = torch.tensor(own[0] if self.trials is None else own, dtype=like.dtype, device=like.device)
            self.register_buffer(f"_{name}", value, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_band()
        return self
