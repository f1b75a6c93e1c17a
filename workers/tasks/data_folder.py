"""Where task data lies, and files of the user's own in there."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pydantic_core import PydanticCustomError

from workers.errors import DataMissing


def folder_of(data_dir: Path | None) -> Path:
    """The data directory; the user's cache folder where none is set."""
    if data_dir is not None:
        return data_dir
    import pooch

    return Path(pooch.os_cache("spectral"))


def inside(name: str) -> str:
    """The relative path ``name`` of a file in the data directory. Raises a validation error for one outside of it."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name:
        expected = "a path relative to the data directory and inside of it, such as books/mine.txt"
        raise PydanticCustomError("inside", "is not a file of the data directory", {"expected": expected})
    return name


def file_in(data_dir: Path | None, name: str) -> Path:
    """The file, links followed. Raises DataMissing where it is not there or lies outside of the data directory."""
    folder = folder_of(data_dir).resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise DataMissing(f"{name} leads out of the data directory {folder}. Put the file itself into it.")
    if not path.is_file():
        raise DataMissing(f"{name} is not in {folder}. Put it there, or set SPECTRAL_DATA_DIR to the folder it is in.")
    return path
