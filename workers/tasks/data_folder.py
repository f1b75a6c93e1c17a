"""The data directory, and files of the user's own in it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from platformdirs import user_cache_path
from pydantic_core import PydanticCustomError

from workers.errors import DataMissing


def folder_of(data_dir: Path | None) -> Path:
    """Return the data directory, or the folder ``spectral`` of the user's cache if ``data_dir`` is None."""
    return user_cache_path("spectral") if data_dir is None else data_dir


def inside(name: str) -> str:
    """Return ``name`` unchanged if it is a relative path of a file inside the data directory.

    Raises:
        PydanticCustomError: If the path is empty, absolute, has a part ``..``, or holds a backslash or a NUL character.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name:
        expected = "a path relative to the data directory and inside of it, such as books/mine.txt"
        raise PydanticCustomError("inside", "is not a path inside the data directory", {"expected": expected})
    return name


def file_in(data_dir: Path | None, name: str) -> Path:
    """Return the path of the file ``name`` in the data directory, with symbolic links followed.

    Raises:
        DataMissing: If there is no such file, its links lead in a circle, or a link leads out of the data directory.
    """
    folder = folder_of(data_dir).resolve()
    try:
        path = (folder / name).resolve()
    except (OSError, RuntimeError):  # which of them, depends on the version of Python
        remedy = "Put the file itself there."
        raise DataMissing(f"{name} in {folder} is a link that leads back to itself. {remedy}", name) from None
    if not path.is_relative_to(folder):
        remedy = "Put the file itself into it."
        raise DataMissing(f"{name} is a link that leads out of the data directory {folder}. {remedy}", name)
    if path.is_dir():
        raise DataMissing(f"{name} is a folder in {folder}. Name a file, such as one of those in it.", name)
    if not path.is_file():
        remedy = "Put it there, or set SPECTRAL_DATA_DIR to the folder that contains it."
        raise DataMissing(f"{name} is not in {folder}. {remedy}", name)
    return path


def version_of(path: Path) -> tuple[int, int]:
    """Return what changes when a file does, so that a cache can hold its content: the time of its change, its size."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size
