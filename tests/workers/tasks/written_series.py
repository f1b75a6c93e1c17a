"""Random series with labels, and what a task has to make of them, for the tests of the readers.

The oracle is as plain as can be: it knows what was written, and no reader.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from workers.tasks import Sequences
from workers.tasks.own_data import OwnData
from workers.tasks.readers.number import INFINITE

RESERVED = {
    *("series", "step", "target", "time", "timestamp", "date", "datetime", "index"),
    *("true", "false", "nan", "null", "na", "<na>", "n/a", "#n/a", "nat", "none", "?"),
}
"""Texts, in lower case, that have a meaning of their own as a name or as a label."""
PLAIN = st.characters(exclude_categories=["Cs", "Cc", "Cf", "Z"])
ODD = PLAIN | st.sampled_from("\"',;:\t #%@?|\\\x1f\x85\u2028")
FLOATS = st.floats(-3e38, 3e38) | st.floats(-10, 10).map(lambda x: round(x, 2)) | st.integers(-99, 99).map(float)


@dataclass(frozen=True)
class Case:
    """N series, one target each.

    Attributes:
        series: Arrays (T_i, features) of float64; NaN is a missing value, and the last step has none.
        names: The label of each series as it should be read.
        cells: The same labels as they are written, in one of several spellings.
    """

    series: list[npt.NDArray[np.float64]]
    names: list[str]
    cells: list[str]

    @property
    def lengths(self) -> list[int]:
        return [len(one) for one in self.series]

    @property
    def features(self) -> int:
        return int(self.series[0].shape[1])

    @property
    def classes(self) -> list[str]:
        """Labels in the order of their numbers: by value if all are numbers, else as text."""
        found = set(self.names)
        try:
            return sorted(found, key=int)
        except ValueError:
            return sorted(found)

    def rounded(self, *ways: Any) -> Case:
        """Return the case with each feature as the numbers that its own way of storing it can hold."""
        series = [
            np.stack(
                [np.where(np.isnan(column), np.nan, way(column)) for column, way in zip(one.T, ways, strict=True)], 1
            )
            for one in self.series
        ]
        return replace(self, series=series)

    def without_gaps(self) -> Case:
        return replace(self, series=[np.where(np.isnan(one), 0.5, one) for one in self.series])

    def padded(self, fill: float = np.nan) -> npt.NDArray[np.float64]:
        """Return all series in one array (N, T, features), with ``fill`` after the end of the shorter ones."""
        found = np.full((len(self.series), max(self.lengths), self.features), float(fill))
        for row, one in zip(found, self.series, strict=True):
            row[: len(one)] = one
        return found


def words(characters: st.SearchStrategy[str] = PLAIN) -> st.SearchStrategy[str]:
    """Names that are no numbers, and have no blanks around them."""
    return st.text(characters, min_size=1, max_size=8).filter(_is_a_word)


def _is_a_word(text: str) -> bool:
    return is_a_name(text) and not any(sign.isdigit() for sign in text)


def is_a_name(text: str) -> bool:
    """Return whether a text can be a name: composed letters, no blanks around it and no meaning of its own."""
    return bool(text) and text == normalize("NFC", text.strip()) and not _has_meaning(text)


def _has_meaning(text: str) -> bool:
    return text.lower() in RESERVED or INFINITE.fullmatch(text) is not None


def spellings(name: str) -> list[str]:
    """Return how a label may be written in a text file."""
    if name in ("True", "False"):
        return [name, name.lower(), name.upper()]
    if name.lstrip("-").isdecimal():
        return [name, f"{name}.0", f"{name}.", f" {name} ", f"{name}.000e+00", name if name[0] == "-" else f"+{name}"]
    return [name, f"{name} ", f" {name}"]


def label_sets(characters: st.SearchStrategy[str] = PLAIN) -> st.SearchStrategy[list[str]]:
    """Two to four different labels: whole numbers of any size, words, both, or the two booleans."""
    integers = (st.integers(-99, 99) | st.integers(-(2**70), 2**70)).filter(lambda i: i != -100).map(str)
    several = [integers, words(characters), integers | words(characters)]
    sets = [st.lists(one, min_size=2, max_size=4, unique=True) for one in several]
    return st.one_of(*sets, st.just(["True", "False"]))


@st.composite
def cases(
    draw: st.DrawFn,
    labels: st.SearchStrategy[list[str]] | None = None,
    features: int | None = None,
    gaps: bool = True,
) -> Case:
    """Draw two to six series of one to five steps, of one to three features, with at least two labels."""
    vocabulary = draw(label_sets() if labels is None else labels)
    count, width = draw(st.integers(2, 6)), features or draw(st.integers(1, 3))
    lengths = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    values = FLOATS | st.just(float("nan")) if gaps else FLOATS
    series = []
    for length in lengths:
        body = [draw(st.lists(values, min_size=width, max_size=width)) for _ in range(length - 1)]
        series.append(np.array([*body, draw(st.lists(FLOATS, min_size=width, max_size=width))]))
    names = [*vocabulary[:2], *(draw(st.sampled_from(vocabulary)) for _ in range(count - 2))]
    return Case(series, names, [draw(st.sampled_from(spellings(name))) for name in names])


@contextmanager
def folder() -> Iterator[Path]:
    """Return a new folder that is removed afterwards."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def read(where: Path, file: str, **fields: Any) -> tuple[OwnData, Sequences]:
    """Return the task and all series of a file, in the order of the file; copies of it validate and test."""
    others = {field: f"{field}-{file}" for field in ("validation_file", "test_file")}
    for other in others.values():
        shutil.copy(where / file, where / other)
    fields = {"missing": "interpolate"} | others | fields
    task = OwnData.model_validate({"name": "own_data", "file": file} | fields).with_info(where)
    found = task.training_data(where)
    assert found is not None
    return task, found


def assert_inputs(found: Sequences, case: Case) -> None:
    """Check values and lengths; missing values lie on a line between their neighbours."""
    np.testing.assert_array_equal(
        found.inputs, replace(case, series=[*map(filled, case.series)]).padded(0).astype("f4")
    )
    lengths = [found.inputs.shape[1]] * len(found) if found.lengths is None else found.lengths.tolist()
    assert lengths == case.lengths


def filled(one: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    steps = np.arange(len(one))
    columns = [np.interp(steps, steps[~np.isnan(column)], column[~np.isnan(column)]) for column in one.T]
    return np.stack(columns, axis=1)


def assert_labels(classes: Sequence[str] | None, found: Sequences, case: Case) -> None:
    """Check the labels of the classes, their order, and the class of each series."""
    assert classes == case.classes
    assert [case.classes[number] for number in found.targets] == case.names


def assert_read(where: Path, file: str, case: Case, **fields: Any) -> None:
    """Check that a file is read as the case that was written to it."""
    task, found = read(where, file, **fields)
    assert_inputs(found, case)
    assert_labels(task.info.classes, found, case)
