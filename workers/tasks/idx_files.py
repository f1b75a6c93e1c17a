"""IDX files, the format of MNIST and of the sets that were made like it: reading one, and finding the four of a set.

A file has two zero bytes, a byte for the type of its numbers, a byte for the number of dimensions, each dimension as
four bytes (big-endian), and then the numbers. It may be compressed with gzip, whatever its name is.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workers.errors import DataMissing
from workers.tasks.data_folder import folder_of
from workers.tasks.readers.errors import DataWrong, Phrase

Role = tuple[Literal["train", "test"], Literal["images", "labels"]]
"""Which of the four files of a set: its part and what it holds."""

_Names = dict[tuple[str, str], list[str]]
"""Names of files by part and by what they hold; a part is train, test or validation."""
_Stream = io.BufferedReader | gzip.GzipFile
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""Types of numbers by their byte in the header, as numpy writes them."""
MAX_BYTES = 4 * 2**30
"""Size of the largest file that is read, unpacked."""
MAX_DIMENSIONS = 32
MAX_RATIO = 1_032
"""gzip makes nothing smaller than by this factor."""
NAME = re.compile(
    r"(?!\.)(?P<prefix>.*?)(?P<part>train|t10k|test|(?<![a-z0-9])val(id(ation)?)?)[-_.](?P<what>images|labels)"
    r"([-_.]idx\d?)?([-_.](ubyte|int))?(\.gz)?",
    re.IGNORECASE,
)
"""Names of the files, such as ``train-images-idx3-ubyte.gz`` or ``emnist-letters-test-labels-idx1-ubyte``.

A hidden file, such as macOS puts beside another one as ``._train-images-idx3-ubyte``, has no such name.
"""
ROLES: tuple[Role, ...] = (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels"))
QMNIST_COLUMNS = 8


def read_idx(path: Path, file: str) -> npt.NDArray[Any]:
    """Return the array of an IDX file, in the types and dimensions of its header.

    The size that the header gives is compared with the file before memory is taken, so neither a wrong header nor an
    archive that unpacks to something else can fill the memory.

    Args:
        path: The file.
        file: Name of the file in messages.

    Raises:
        DataWrong: If the file is not an IDX file, is cut short, longer than its header says or larger than
            ``MAX_BYTES``, or if its archive is damaged.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            return _read(raw, path, file, packed)
        try:
            with gzip.GzipFile(fileobj=raw) as unpacked:
                return _read(unpacked, path, file, packed)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            expected = "the whole archive; copy or download the file again"
            raise DataWrong(file, "the file", Phrase("a damaged gzip archive"), expected) from None


def _read(stream: _Stream, path: Path, file: str, packed: bool) -> npt.NDArray[Any]:
    dtype, shape = _header(stream, file)
    # math.prod has no largest number, unlike numpy's integers
    size, there = math.prod(shape) * dtype.itemsize, path.stat().st_size
    words = f"{' x '.join(f'{count:,}' for count in shape)} numbers, {size:,} bytes"
    # numpy has no array of vast dimensions even if one of them is 0
    if math.prod(max(1, count) for count in shape) * dtype.itemsize > MAX_BYTES:
        raise DataWrong(file, "its header", Phrase(words), f"at most {MAX_BYTES:,} bytes")
    if packed and size > there * MAX_RATIO:
        found = Phrase(f"{words}, which an archive of {there:,} bytes cannot hold")
        raise DataWrong(file, "its header", found, "the dimensions of the numbers in the file")
    body = there - 4 - 4 * len(shape)
    if not packed and size != body:
        raise DataWrong(file, "its header", Phrase(words), f"the {body:,} bytes that follow it")
    data, done = np.empty(size, np.uint8), 0
    while done < size and (count := stream.readinto(data.data[done:])):
        done += count
    if done < size or stream.read(1):
        found = Phrase(f"{words}, but {'more' if done == size else f'{done:,}'} bytes follow")
        raise DataWrong(file, "its header", found, "the dimensions of the numbers in the file")
    return data.view(dtype).reshape(shape)


def _header(stream: _Stream, file: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or magic[3] == 0:
        found = Phrase(f"the first bytes {magic.hex(' ').upper()} (hexadecimal)" if magic else "an empty file")
        expected = "an IDX file, whose first bytes are 00 00, a type such as 08 and a number of dimensions such as 03"
        raise DataWrong(file, "the file", found, expected)
    if magic[3] > MAX_DIMENSIONS:
        raise DataWrong(file, "its header", Phrase(f"{magic[3]} dimensions"), f"at most {MAX_DIMENSIONS}")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataWrong(file, "its header", Phrase("the end of the file"), f"the sizes of {magic[3]} dimensions")
    return np.dtype(TYPES[magic[2]]), tuple(int(count) for count in np.frombuffer(sizes, ">u4"))


def images_in(path: Path, file: str) -> npt.NDArray[np.uint8]:
    """Return the images (N, height, width) of a file. Raises DataWrong if it holds anything else, or none."""
    images = read_idx(path, file)
    if images.dtype != np.uint8 or images.ndim != 3 or 0 in images.shape:
        found = Phrase(f"an array of {images.dtype.name} of shape {images.shape}")
        raise DataWrong(file, "the file", found, "images of one byte per pixel, of shape (images, height, width)")
    return images


def labels_in(path: Path, file: str, count: int) -> npt.NDArray[np.int64]:
    """Return the labels (N,) of a file.

    Of the table with eight columns that QMNIST has for each image, the first is the class.

    Raises:
        DataWrong: If the file does not hold ``count`` whole numbers, or such a table of ``count`` rows.
    """
    labels = read_idx(path, file)
    if labels.ndim == 2 and labels.shape[1] == QMNIST_COLUMNS:
        labels = labels[:, 0]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        found = Phrase(f"an array of {labels.dtype.name} of shape {labels.shape}")
        raise DataWrong(file, "the file", found, "labels, a whole number for each image")
    if len(labels) != count:
        raise DataWrong(file, "the file", Phrase(f"{len(labels):,} labels"), f"{count:,}, one for each image")
    return labels.astype(np.int64)


def files_of(dataset: str, data_dir: Path | None) -> dict[Role, str]:
    """Return the names of a set's four files, relative to the data directory.

    The set is a folder with the four files, in it or in a folder ``raw`` of it. If a folder has the files of several
    sets, whose names begin differently, the last part of ``dataset`` is that beginning: ``emnist/emnist-letters``. Of
    a file and its archive the file is taken. Folders and hidden files are passed over.

    Raises:
        DataMissing: If a file is missing, if a folder has several sets and ``dataset`` names none of them, if two files
            may be the same one of the four, if the test images and labels are named differently (``t10k`` and
            ``test``), or if there are files to validate, which would not be read.
    """
    root, path = folder_of(data_dir), PurePosixPath(dataset)
    for folder in (path, path / "raw"):
        found = _sets_in(root / folder)
        if len(found) > 1 and "" not in found:
            choices = ", ".join(str(folder / prefix) for prefix in sorted(found))
            raise DataMissing(f"{root / folder} holds several sets; set task.dataset to one of {choices}")
        if found:
            return _complete(root, folder, found.get("") or next(iter(found.values())))
    found = _sets_in(root / path.parent)
    if path.name in found:
        return _complete(root, path.parent, found[path.name])
    raise DataMissing(
        f"no images of {dataset} are in {root}. Put the four files of the set, named like {_example(ROLES)}, into a "
        f"folder {dataset} there, or set SPECTRAL_DATA_DIR to the folder that contains {dataset}/."
    )


def prefixes_in(folder: Path) -> list[str]:
    """Return how the names of the sets in a folder begin, "" for one without a beginning; empty if there are none."""
    return sorted(_sets_in(folder))


def _sets_in(folder: Path) -> dict[str, _Names]:
    """Return the names of the files in a folder by the beginning of their names and by their roles."""
    found: dict[str, _Names] = {}
    for name in sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else ():
        if match := NAME.fullmatch(name):
            part, what = match["part"].lower(), match["what"].lower()
            part = {"t10k": "test", "val": "validation", "valid": "validation"}.get(part, part)
            own = found.setdefault(match["prefix"].rstrip("-_."), {}).setdefault((part, what), [])
            # a file comes directly before its archive, which is left out
            if not own or name.lower() != f"{own[-1]}.gz".lower():
                own.append(name)
    return found


def _complete(root: Path, folder: PurePosixPath, names: _Names) -> dict[Role, str]:
    """Return the one file of each role. Raises DataMissing unless there is exactly one, and no other file."""
    missing = [role for role in ROLES if role not in names]
    if missing:
        there = sorted(name for several in names.values() for name in several)
        raise DataMissing(
            f"{root / folder} has {', '.join(there)}, but no file with the "
            f"{' and '.join(f'{part} {what}' for part, what in missing)}. Put it there, named like {_example(missing)}."
        )
    for (part, what), several in names.items():
        if len(several) > 1:
            raise DataMissing(
                f"{root / folder} has {' and '.join(several)}, each of which may be the {part} {what}. Keep the file "
                "that belongs to the set, and move the others to another folder."
            )
    if unused := [several[0] for (part, _), several in names.items() if part == "validation"]:
        raise DataMissing(
            f"{root / folder} has {' and '.join(unused)}, which would not be read: a part of the training images "
            "validates, as large as task.validation says. Move this to another folder."
        )
    tests = [names["test", what][0] for what in ("images", "labels")]
    if len({"t10k" if _is_t10k(name) else "test" for name in tests}) > 1:
        raise DataMissing(
            f"{root / folder} has {' and '.join(tests)}, which may belong to two sets. If they are of one set, give "
            "both names the same beginning, t10k or test."
        )
    return {role: str(folder / names[role][0]) for role in ROLES}


def _is_t10k(name: str) -> bool:
    match = NAME.fullmatch(name)
    return match is not None and match["part"].lower() == "t10k"


def _example(roles: Sequence[Role]) -> str:
    parts, endings = {"train": "train", "test": "t10k"}, {"images": "idx3", "labels": "idx1"}
    return ", ".join(f"{parts[part]}-{what}-{endings[what]}-ubyte.gz" for part, what in roles)
