"""``save_pretrained`` and ``from_pretrained``: a module as a folder of tensors, options and a model card.

The folder holds

- ``model.safetensors``: the tensors of the module's ``state_dict``;
- ``config.json``: the class and the options of its constructor, see configuration.py;
- ``README.md``, and ``spectrum.png`` if matplotlib is installed: the model card, see model_card.py.

Loading reads the first two alone, and executes nothing that is in them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from spectral.errors import OptionError, PretrainedError, SpectralError
from spectral.pretrained import files
from spectral.pretrained.configuration import ModuleConfiguration
from spectral.pretrained.model_card import card_files

Folder = str | os.PathLike[str]


class PretrainedModule(nn.Module):
    """A module that can be saved in a folder and loaded from it, also as a pack."""

    def save_pretrained(self, folder: Folder, *, card: bool = True) -> None:
        """Write the tensors and the options into a folder, from which ``from_pretrained`` makes the module again.

        Needs safetensors: ``pip install "spectral-rnn-service[export]"``. The folder is made if it does not exist, and
        files of an earlier save in it are replaced. Whether parameters require gradients, and the training mode, are
        not saved.

        Args:
            folder: Where to write.
            card: Whether to write a model card too, ``README.md``, with a picture of the singular values if matplotlib
                is installed. A ``README.md`` that was not written by this method is left as it is.

        Raises:
            MissingPackageError: If safetensors is not installed.
            OptionError: If parameters are on the meta device or differ in dtype, if the module has other tensors than
                its constructor makes, such as those of a parametrization, or if an option of a derived class cannot be
                stored.
            OSError: If a file cannot be written. The folder then has what it had.
        """
        path = Path(folder)
        configuration = ModuleConfiguration.of(self)
        tensors = _stored_tensors(self)
        if wrong := _differences(configuration.build(type(self)).state_dict(), tensors):
            raise OptionError(
                f"a {type(self).__name__} with these options has other tensors than this module: {wrong}. It could not "
                "be loaded again; undo what has changed it, such as a parametrization, first"
            )
        contents: dict[str, bytes | None] = {
            files.MODEL: files.encode_tensors(tensors),
            files.CONFIG: configuration.to_json().encode(),
        }
        files.write_together(path, contents | (card_files(self, configuration, path) if card else {}))

    @classmethod
    def from_pretrained(
        cls, folder: Folder, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the module that ``save_pretrained`` wrote into a folder, in evaluation mode.

        Nothing is downloaded, and no code of the folder is executed.

        Args:
            folder: The folder.
            device: Where the parameters are to be; None is the CPU.
            dtype: Their dtype; None is the one in which they were saved.

        Returns:
            A module of the saved class, which is this one, or one of this package that is derived from it.

        Raises:
            MissingPackageError: If safetensors is not installed.
            PretrainedError: If the folder holds a module of another class, or if a file is missing, broken, of an
                unknown version, or does not fit the other file.
        """
        path = Path(folder)
        content = files.read(path / files.CONFIG)
        try:
            configuration = ModuleConfiguration.from_json(content)
            module = configuration.build(_class_named(configuration.class_name, cls))
        except PretrainedError as error:
            raise PretrainedError(f"{path / files.CONFIG}: {error}") from error
        _load(module, path / files.MODEL)
        loaded: Self = module.to(device=device, dtype=dtype).eval()  # type: ignore[assignment]
        return loaded


def from_pretrained(
    folder: Folder, *, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> PretrainedModule:
    """Return the module that ``save_pretrained`` wrote into a folder; its class is the one named there.

    Arguments and errors are those of ``PretrainedModule.from_pretrained``. A class that is not one of this package has
    to be asked for by its own ``from_pretrained``.
    """
    return PretrainedModule.from_pretrained(folder, device=device, dtype=dtype)


def _class_named(name: str, asked: type[PretrainedModule]) -> type[PretrainedModule]:
    """Return the class ``name``: the class that was asked for, or one of this package that is derived from it.

    Raises:
        PretrainedError: If there is no such class.
    """
    if name == asked.__name__:
        return asked
    for derived in _derived(asked):
        if derived.__name__ == name and derived.__module__.startswith(f"{__package__.partition('.')[0]}."):
            return derived
    if any(derived.__name__ == name for derived in _derived(PretrainedModule)):
        raise PretrainedError(f"it is of a {name}, not of a {asked.__name__}. Call {name}.from_pretrained")
    raise PretrainedError(
        f"it is of a {name}, which is no class of this package. Call {name}.from_pretrained, of the class with which "
        "it was saved"
    )


def _derived(cls: type[PretrainedModule]) -> Iterator[type[PretrainedModule]]:
    """Yield all classes that are derived from ``cls``."""
    for derived in cls.__subclasses__():
        yield derived
        yield from _derived(derived)


def _stored_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the module's state dict with tensors on the CPU. Raise OptionError if a value cannot be stored."""
    stored = {}
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor) or value.is_meta:
            raise OptionError(f"{name} of a {type(module).__name__} must be a tensor with data; found {_named(value)}")
        stored[name] = value.detach().cpu().contiguous()
    return stored


def _load(module: nn.Module, path: Path) -> None:
    """Load the tensors of a file into a module.

    Raises:
        PretrainedError: If the file is missing or broken, or if its tensors are not those of the module.
    """
    found = files.read_tensors(path)
    if wrong := _differences(module.state_dict(), found):
        raise PretrainedError(f"the tensors of {path} do not fit {files.CONFIG}: {wrong}")
    try:
        module.load_state_dict(found)
    except (RuntimeError, SpectralError) as error:
        raise PretrainedError(f"{path} does not fit {files.CONFIG}: {error}") from error


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """Return in which names, shapes and dtypes two state dicts differ, or an empty text; the first three of many.

    Extra states are left out: they have no fixed shape, files of earlier releases lack them, and load_state_dict checks
    them.
    """
    names = sorted(name for name in {*expected, *found} if not name.endswith("_extra_state"))
    pairs = [(name, _named(expected.get(name)), _named(found.get(name))) for name in names]
    wrong = [f"{name} should be {right} and is {other}" for name, right, other in pairs if right != other]
    return "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")


def _named(value: Any) -> str:
    """Return shape and dtype of a tensor, or what else the value is, for a message."""
    if not isinstance(value, Tensor):
        return "absent" if value is None else f"a {type(value).__name__}"
    return f"{tuple(value.shape)} {value.dtype}{' without data' if value.is_meta else ''}"
