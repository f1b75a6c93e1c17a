"""Reader of numpy's ``.npz`` files.

A file has the arrays ``inputs`` (N, T) or (N, T, I), ``targets`` and, if series differ in length, ``lengths`` (N,).
Without ``lengths`` a series ends before the steps at its end that are all NaN. ``targets`` is (N,) or (N, O) with one
target per series, and (N, T) or (N, T, O) with one per step.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.series import Series, without_end
from workers.tasks.readers.targets import are_given

ARRAYS = ("inputs", "targets", "lengths")
SMALL_BYTES = 2**28
"""An array of up to this size may be in a file of any size."""
MOST_GROWTH = 200
"""A larger array has at most this many bytes for each byte of its file, so that a small file cannot fill the memory."""
AS_WRITTEN = "arrays of numbers or text, as numpy.savez and numpy.savez_compressed write them (no Python objects)"


def read_npz(path: Path, file: str, *, every_step: bool) -> Series:
    """Read the series of a file.

    Args:
        path: The file.
        file: Name of the file in messages.
        every_step: Whether every step has a target.

    Raises:
        DataWrong: If the file is not as described; the message names the array and the index.
    """
    arrays = _arrays(path, file)
    inputs = _inputs(file, arrays["inputs"])
    targets = _targets(file, arrays["targets"], inputs.shape[:2], every_step)
    if "lengths" in arrays:
        lengths = _lengths(file, arrays["lengths"], *inputs.shape[:2])
        values = [one[:length].astype(np.float64) for one, length in zip(inputs, lengths, strict=True)]
    else:
        values = [without_end(one.astype(np.float64)) for one in inputs]
        if every_step:
            _check_ends(file, targets, values)
    return Series(
        file,
        values,
        [one[: len(series)] if every_step else one for one, series in zip(targets, values, strict=True)],
        place=lambda i, t, d: f"inputs[{i}, {t}{f', {d}' if arrays['inputs'].ndim == 3 else ''}]",
        target_place=lambda i, t, o: f"targets[{', '.join(map(str, _index(arrays['targets'], every_step, i, t, o)))}]",
    )


def _index(targets: npt.NDArray[Any], every_step: bool, i: int, t: int, output: int) -> tuple[int, ...]:
    return ((i, t, output) if every_step else (i, output))[: targets.ndim]


def _arrays(path: Path, file: str) -> dict[str, npt.NDArray[Any]]:
    try:
        with path.open("rb") as opened:
            if opened.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
                found = Phrase("a single array")
                raise DataWrong(file, "the file", found, "an archive of arrays, as numpy.savez writes it")
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            _check_names(file, names)
            most = max(SMALL_BYTES, MOST_GROWTH * path.stat().st_size)
            return {name: _array(archive, f"{name}.npy", file, most) for name in names}
    except (ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError) as error:
        if isinstance(error, DataWrong):
            raise
        found = Phrase("an array of another kind, or a damaged archive")
        raise DataWrong(file, "the file", found, AS_WRITTEN) from None
    except (RuntimeError, MemoryError):
        raise DataWrong(file, "the file", Phrase("an array that does not fit into memory"), AS_WRITTEN) from None


def _check_names(file: str, names: list[str]) -> None:
    if set(ARRAYS[:2]) <= set(names) <= set(ARRAYS) and len(names) == len(set(names)):
        return
    expected = "inputs, targets and, if series differ in length, lengths; and no other array"
    raise DataWrong(file, "its arrays", Phrase(", ".join(sorted(names)) or "none"), expected)


def _array(archive: zipfile.ZipFile, member: str, file: str, most: int) -> npt.NDArray[Any]:
    """Read an array whose header agrees with the size of its member, so that no damaged one claims much memory.

    Raises:
        DataWrong: If the array needs more than ``most`` bytes.
        ValueError: If the member is no array, holds Python objects, or is larger or smaller than its header says.
    """
    info = archive.getinfo(member)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member} is compressed in a way that numpy does not write")
    size = info.file_size
    with archive.open(member) as opened:
        version = np.lib.format.read_magic(opened)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        try:
            shape, _, dtype = read(opened)
        except Exception as error:  # numpy reads a header as Python code, and raises whatever Python's parser does
            raise ValueError(f"{member} has a damaged header") from error
        if dtype.hasobject or opened.tell() + dtype.itemsize * math.prod(shape) != size:
            raise ValueError(f"{member} is no array of {size} bytes")
        needed = max(dtype.itemsize, np.dtype(np.float64).itemsize) * math.prod(shape)
        if needed > most:
            found = Phrase(f"shape {shape} of {dtype}, {needed / 2**30:,.1f} GiB")
            expected = f"at most {MOST_GROWTH} bytes for each byte of the file"
            raise DataWrong(file, member.removesuffix(".npy"), found, expected)
    with archive.open(member) as opened:
        array: npt.NDArray[Any] = np.lib.format.read_array(opened, allow_pickle=False)
        return array


def _inputs(file: str, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if inputs.dtype.kind not in "iufb":
        raise DataWrong(file, "inputs", Phrase(f"an array of {inputs.dtype}"), "numbers")
    if inputs.ndim not in (2, 3) or 0 in inputs.shape:
        expected = "(series, steps) or (series, steps, features), none of them 0"
        raise DataWrong(file, "inputs", Phrase(f"shape {inputs.shape}"), expected)
    return inputs if inputs.ndim == 3 else inputs[:, :, None]


def _lengths(file: str, lengths: npt.NDArray[Any], count: int, steps: int) -> npt.NDArray[np.int64]:
    if lengths.shape != (count,) or lengths.dtype.kind not in "iu":
        found = Phrase(f"shape {lengths.shape} of {lengths.dtype}")
        raise DataWrong(file, "lengths", found, f"a whole number for each series, shape ({count},)")
    wrong = (lengths < 1) | (lengths > steps)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise DataWrong(
            file, f"lengths[{place}]", int(lengths[place]), f"a length from 1 to {steps}, the steps of inputs"
        )
    return lengths.astype(np.int64)


def _targets(file: str, targets: npt.NDArray[Any], shape: tuple[int, ...], every_step: bool) -> npt.NDArray[Any]:
    """Return the targets with an axis of outputs at the end, after a check of their shape."""
    lead = shape if every_step else shape[:1]
    if targets.dtype.kind not in "iufbUS":
        raise DataWrong(file, "targets", Phrase(f"an array of {targets.dtype}"), "numbers or text")
    if targets.shape == lead:
        return targets[..., None]
    if targets.shape[:-1] != lead or targets.shape[-1] == 0:
        size = ", ".join(map(str, lead))
        expected = f"{lead} or ({size}, outputs), a target for each {'step' if every_step else 'series'}"
        raise DataWrong(file, "targets", Phrase(f"shape {targets.shape}"), expected)
    return targets


def _check_ends(file: str, targets: npt.NDArray[Any], values: list[npt.NDArray[np.float64]]) -> None:
    """Raise DataWrong if a step after the end of its series has a target, which would be left out unnoticed."""
    given = are_given(targets).any(axis=-1)
    after = np.arange(given.shape[1]) >= np.array([[len(one)] for one in values])
    wrong = given & after & (targets[..., 0] != -100 if targets.dtype.kind in "iu" else True)
    if wrong.any():
        i, t = (int(place) for place in np.argwhere(wrong)[0])
        expected = "no target, since all values of inputs are NaN from here to the end; or give lengths"
        raise DataWrong(file, f"targets[{i}, {t}]", str(targets[i, t, 0]), expected)
