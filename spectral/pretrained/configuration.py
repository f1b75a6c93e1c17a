"""The configuration of a module, as ``config.json`` holds it: its class and the options of its constructor."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import nn

from spectral.errors import OptionError, PretrainedError

VERSION = 1
DTYPES = {"float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
SLOT = ("reflectors", "margin", "sigma")
"""The options in which the trials of a pack may differ."""
NOT_STORED = ("device", "dtype", "generator", "init", "start")
"""The arguments of constructors that a loaded module does not depend on, and the dtype, which is stored by itself."""
READ: dict[str, Callable[[Any], Any]] = {
    "bias": lambda module: module.bias if isinstance(module.bias, bool) else module.bias is not None,
    "nonlinearity": lambda module: module.activation.name,
    "negative_slope": lambda module: module.activation.slope,
}
"""How options are read that are not, or not always, attributes of the same name."""


def option_names(cls: type) -> list[str]:
    """Return the names of the options that all trials of a pack share, in the order of the constructor.

    Raises:
        OptionError: If the constructor takes ``*args`` or ``**kwargs``, so that its options are not known.
    """
    parameters = list(inspect.signature(cls).parameters.values())
    if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) for parameter in parameters):
        raise OptionError(
            f"the constructor of {cls.__name__} takes *args or **kwargs, so its options cannot be stored; "
            "give it named arguments, or save the state_dict instead"
        )
    return [parameter.name for parameter in parameters if parameter.name not in (*SLOT, *NOT_STORED)]


@dataclass(frozen=True)
class ModuleConfiguration:
    """What is needed beside the tensors to build a module again."""

    class_name: str
    options: Mapping[str, Any]
    """The shared options of the constructor by name."""
    slots: tuple[Mapping[str, Any], ...]
    """``reflectors``, ``margin`` and ``sigma`` of each trial; one entry if the module is not a pack."""
    trials: int | None
    """K for a pack, None for a single trial."""
    dtype: str
    """The dtype of the parameters, a name in DTYPES."""

    @classmethod
    def of(cls, module: Any) -> Self:
        """Return the configuration of a module of this package, or of a class derived from one.

        Raises:
            OptionError: If an option is no attribute of the module, or no value that JSON has, or if the parameters
                differ in dtype.
        """
        kind = type(module).__name__
        dtypes = sorted({str(parameter.dtype).removeprefix("torch.") for parameter in module.parameters()})
        if len(dtypes) != 1 or dtypes[0] not in DTYPES:
            raise OptionError(
                f"the parameters of a {kind} must have one dtype of {', '.join(DTYPES)} to be saved; found "
                f"{', '.join(dtypes) or 'no parameters'}"
            )
        options = {name: _option(module, name) for name in option_names(type(module))}
        slots = tuple(asdict(slot) for slot in module.slots)
        return cls(kind, options, slots, module.trials, dtypes[0])

    def to_json(self) -> str:
        """Return the text of ``config.json``."""
        content = {"library_name": "spectral-rnn-service", "format_version": VERSION} | asdict(self)
        return json.dumps(content, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the configuration that a ``config.json`` holds; the class and its options are not checked.

        Raises:
            PretrainedError: If the text is not JSON, has another version, or lacks an entry.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise PretrainedError(f"it is not JSON: {error}") from error
        if not isinstance(content, dict) or "format_version" not in content:
            raise PretrainedError("it has no format_version, so save_pretrained of this package did not write it")
        version = content["format_version"]
        if version != VERSION:
            raise PretrainedError(
                f"it has format version {version!r}, and this release reads version {VERSION}. "
                "Install the release that wrote it, or a later one"
            )
        for name, kinds in (("class_name", str), ("options", dict), ("slots", list), ("dtype", str)):
            if not isinstance(content.get(name), kinds):
                raise PretrainedError(f"{name} must be a {kinds.__name__}; found {content.get(name)!r}")
        slots, trials = content["slots"], content.get("trials")
        if not all(isinstance(slot, dict) and sorted(slot) == sorted(SLOT) for slot in slots):
            raise PretrainedError(f"each of slots must have {', '.join(SLOT)}; found {slots!r}")
        if not slots or (trials is None and len(slots) > 1) or (trials is not None and trials != len(slots)):
            raise PretrainedError(f"trials must be the number of slots, or null for one; found {trials!r}")
        if content["dtype"] not in DTYPES:
            raise PretrainedError(f"dtype must be one of {', '.join(DTYPES)}; found {content['dtype']!r}")
        return cls(content["class_name"], content["options"], tuple(slots), trials, content["dtype"])

    def build(self, cls: type[Any]) -> nn.Module:
        """Return a module of the class ``cls`` with these options, on the CPU, with first values of no meaning.

        torch's default generator is not advanced.

        Raises:
            PretrainedError: If the class does not take these options.
        """
        try:
            unknown = set(self.options) - set(option_names(cls))
        except OptionError as error:
            raise PretrainedError(str(error)) from error
        if unknown:
            raise PretrainedError(f"{cls.__name__} has no option {', '.join(sorted(unknown))} in this release")
        fixed = {"device": "cpu", "dtype": DTYPES[self.dtype], "generator": torch.Generator()}
        taken = inspect.signature(cls).parameters
        common = {**self.options, **{name: value for name, value in fixed.items() if name in taken}}
        try:
            built = [cls(**common, **_slot(slot)) for slot in self.slots]
            module: nn.Module = built[0] if self.trials is None else cls.pack(built)
        except (TypeError, ValueError, RuntimeError, OverflowError) as error:
            raise PretrainedError(f"{cls.__name__} cannot be built with its options: {error}") from error
        return module

    def named_options(self) -> Iterator[tuple[str, Any]]:
        """Yield names and values of all options: the shared ones, then those of the trials, then the dtype."""
        yield from self.options.items()
        for name in SLOT:
            values = [slot[name] for slot in self.slots]
            yield name, values if self.trials is not None else values[0]
        yield "dtype", self.dtype


def _option(module: nn.Module, name: str) -> Any:
    """Return the value of an option of the constructor. Raise OptionError if it is unknown or nothing for JSON."""
    kind = type(module).__name__
    try:
        value = READ[name](module) if name in READ else getattr(module, name)
    except AttributeError:
        raise OptionError(
            f"{kind} takes the argument {name!r} and has no attribute of that name, so it cannot be stored; "
            f"set self.{name} in the constructor"
        ) from None
    if value is not None and not isinstance(value, bool | int | float | str):
        raise OptionError(
            f"the option {name!r} of {kind} must be a number, a text or None to be stored; found {value!r}"
        )
    return value


def _slot(slot: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of one trial as a constructor takes them."""
    reflectors = slot["reflectors"]
    return {**slot, "reflectors": tuple(reflectors) if isinstance(reflectors, list) else reflectors}
