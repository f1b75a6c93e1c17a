"""Reader of numpy's ``.npz`` files.

A file has the arrays ``inputs`` (N, T) or (N, T, I), ``targets`` and, if series differ in length, ``lengths`` (N,).
``targets`` is (N,) or (N, O) with one target per series, and (N, T) or (N, T, O) with one per step.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.series import Series

ARRAYS = ("inputs", "targets", "lengths")


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
    lengths = _lengths(file, arrays.get("lengths"), *inputs.shape[:2])
    targets = _targets(file, arrays["targets"], inputs.shape[:2], every_step)
    ends = [*lengths] if every_step else [1] * len(inputs)
    if not every_step:
        targets = targets[:, None]
    cut = [one[:end] for one, end in zip(targets, ends, strict=True)]
    return Series(
        file,
        [one[:length].astype(np.float64) for one, length in zip(inputs, lengths, strict=True)],
        cut if every_step else [one[0] for one in cut],
        place=lambda i, t, d: f"inputs[{i}, {t}{f', {d}' if arrays['inputs'].ndim == 3 else ''}]",
        target_place=lambda i, t, o: f"targets[{', '.join(map(str, _index(arrays['targets'], every_step, i, t, o)))}]",
    )


def _index(targets: npt.NDArray[Any], every_step: bool, i: int, t: int, output: int) -> tuple[int, ...]:
    return ((i, t, output) if every_step else (i, output))[: targets.ndim]


def _arrays(path: Path, file: str) -> dict[str, npt.NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataWrong(
                file, "the file", Phrase("a single array"), "an archive of arrays, as numpy.savez writes it"
            )
        with archive:
            found = {name: archive[name] for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        expected = "arrays of numbers or text, as numpy.savez writes them (no Python objects)"
        raise DataWrong(file, "the file", Phrase(f"({error})"), expected) from None
    for name in [*ARRAYS[:2], *found]:
        if name not in found or name not in ARRAYS:
            expected = "inputs, targets and, if series differ in length, lengths; and no other array"
            raise DataWrong(file, "its arrays", Phrase(", ".join(found) or "none"), expected)
    return found


def _inputs(file: str, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if inputs.dtype.kind not in "iufb":
        raise DataWrong(file, "inputs", Phrase(f"an array of {inputs.dtype}"), "numbers")
    if inputs.ndim not in (2, 3) or 0 in inputs.shape:
        expected = "(series, steps) or (series, steps, features), none of them 0"
        raise DataWrong(file, "inputs", Phrase(f"shape {inputs.shape}"), expected)
    return inputs if inputs.ndim == 3 else inputs[:, :, None]


def _lengths(file: str, lengths: npt.NDArray[Any] | None, count: int, steps: int) -> npt.NDArray[np.int64]:
    if lengths is None:
        return np.full(count, steps)
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
    if targets.dtype.kind not in "iufbU":
        raise DataWrong(file, "targets", Phrase(f"an array of {targets.dtype}"), "numbers or text")
    if targets.shape == lead:
        return targets[..., None]
    if targets.shape[:-1] != lead or targets.shape[-1] == 0:
        size = ", ".join(map(str, lead))
        expected = f"{lead} or ({size}, outputs), a target for each {'step' if every_step else 'series'}"
        raise DataWrong(file, "targets", Phrase(f"shape {targets.shape}"), expected)
    return targets
