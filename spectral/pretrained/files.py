"""The files of a saved module: read and written whole, with safetensors for the tensors."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from torch import Tensor

from spectral.errors import MissingPackageError, PretrainedError

MODEL, CONFIG, CARD, PICTURE = "model.safetensors", "config.json", "README.md", "spectrum.png"


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a safetensors file. Raise MissingPackageError if safetensors is not installed."""
    content: bytes = _safetensors().save(dict(tensors), metadata={"format": "pt"})
    return content


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        MissingPackageError: If safetensors is not installed.
        PretrainedError: If there is no such file, or if it is broken.
    """
    load = _safetensors().load
    content = read(path)
    try:
        tensors: dict[str, Tensor] = load(content)
    except Exception as error:  # a file that safetensors cannot read raises errors of several kinds
        raise PretrainedError(f"{path} is no whole safetensors file: {error}") from error
    return tensors


def read(path: Path) -> bytes:
    """Return the content of a file. Raise PretrainedError if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PretrainedError(
            f"{path} cannot be read: {error.strerror or error}. A folder of save_pretrained has {CONFIG} and {MODEL}"
        ) from error


def write_together(folder: Path, contents: Mapping[str, bytes | None]) -> None:
    """Write files into a folder, so that ``config.json`` never stands beside tensors of another save.

    A content None removes the file, if there is one.

    All contents are first written under temporary names and synced. Only then the old ``config.json`` is removed, the
    files get their names, and the new ``config.json`` comes last. If an error is raised before, such as for a full
    disk, the folder has what it had. If the process ends between, the folder has no ``config.json``, and
    ``from_pretrained`` refuses it.

    Raises:
        OSError: If a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {folder / f".{name}.{os.getpid()}.tmp": name for name, content in contents.items() if content is not None}
    try:
        for temporary, name in written.items():
            with temporary.open("wb") as file:
                file.write(contents[name] or b"")
                file.flush()
                os.fsync(file.fileno())
        for name in (CONFIG, *(name for name, content in contents.items() if content is None)):
            (folder / name).unlink(missing_ok=True)
        for temporary, name in sorted(written.items(), key=lambda item: item[1] == CONFIG):
            temporary.replace(folder / name)
    finally:
        for temporary in written:
            temporary.unlink(missing_ok=True)


def _safetensors() -> ModuleType:
    """Return the module safetensors.torch. Raise MissingPackageError if it is not installed."""
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingPackageError(
            "the package safetensors, which save_pretrained and from_pretrained need, is not installed: "
            'pip install "spectral-rnn-service[export]"'
        ) from error
    return safetensors.torch
