"""Which task reads a file or a folder that is given by its path, anywhere on this machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from workers.errors import DataMissing
from workers.tasks.idx_files import NAME, prefixes_in
from workers.tasks.own_data import SUFFIXES
from workers.tasks.ucr import READERS

ARCHIVE_FILE = re.compile(r"(?P<dataset>[A-Za-z0-9][A-Za-z0-9_-]*)_(TRAIN|TEST)")
TEXT = ".txt"


def recognise(path: Path, fields: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    """Return the fields of the task that reads a file or folder, and the data directory for it.

    A file belongs to the task of its format, and its folder is the data directory. A folder holds a set of images or a
    data set of the UCR archive, and the folder around it is the data directory. The same is so for one file of such a
    set. A folder is itself the data directory if ``fields`` names a file in it.

    Args:
        path: The file or folder.
        fields: Fields of the task that are known; none of them is replaced.

    Raises:
        DataMissing: If there is no such file, or if no task reads files like it.
    """
    if not path.exists():
        raise DataMissing(f"there is no file or folder {path}")
    path = path.resolve()
    if path.is_dir():
        found = {} if "file" in fields else _of_folder(path, fields)
        return found | fields, path if "file" in fields else path.parent
    return _of_file(path, fields)


def _of_folder(folder: Path, fields: dict[str, Any]) -> dict[str, Any]:
    if "dataset" in fields and "name" in fields:
        return {}
    if prefixes_in(folder) or prefixes_in(folder / "raw"):
        return {"name": "images", "dataset": folder.name}
    sets = {match["dataset"] for path in folder.iterdir() if (match := _archive_file(path))}
    if len(sets) == 1:
        return {"name": "ucr", "dataset": sets.pop()}
    what = f"files of {len(sets)} data sets" if sets else "no data set"
    raise DataMissing(
        f"{folder} holds {what}. Give a file, a folder with the four IDX files of a set of images, or one with the "
        "files NAME_TRAIN and NAME_TEST of one set of the UCR archive."
    )


def _of_file(path: Path, fields: dict[str, Any]) -> tuple[dict[str, Any], Path]:
    name = fields.get("name")
    archive = _archive_file(path)
    if name in (None, "ucr") and archive and _has_both(path.parent, archive["dataset"]):
        return {"name": "ucr", "dataset": archive["dataset"]} | fields, path.parent
    if name in (None, "images") and (part := NAME.fullmatch(path.name)):
        prefix = part["prefix"].rstrip("-_.")
        dataset = f"{path.parent.name}/{prefix}" if prefix else path.parent.name
        return {"name": "images", "dataset": dataset} | fields, path.parent.parent
    if name is None and path.suffix not in (*SUFFIXES, TEXT):
        known = ", ".join((*SUFFIXES, TEXT))
        raise DataMissing(f"{path.name} has a format that cannot be told: its name ends in none of {known}")
    own = {"name": "text" if path.suffix == TEXT else "own_data", "file": path.name}
    return own | fields, path.parent


def _archive_file(path: Path) -> re.Match[str] | None:
    return ARCHIVE_FILE.fullmatch(path.stem) if path.suffix in READERS else None


def _has_both(folder: Path, dataset: str) -> bool:
    files = [path.stem for path in folder.iterdir() if path.suffix in READERS]
    return {f"{dataset}_TRAIN", f"{dataset}_TEST"} <= set(files)
