"""Reader of ``.ts`` files, the format of the UEA and UCR archive, as sktime and aeon write it.

Lines ``@tag value`` come first (``#`` starts a comment), then ``@data``, then one series per line. Its dimensions are
separated by ``:`` and the values of a dimension by commas, with ``?`` for a missing value. The label comes last, after
a further ``:``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.decoding import lines_of
from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.number import NotANumber, floats
from workers.tasks.readers.series import Kind, Series
from workers.tasks.readers.text import read_text

COMMENTS = "#%"
"""Characters that begin a comment line."""
COUNT = re.compile(r"[1-9][0-9]{0,8}")
MISSING = "?"
TAGS = frozenset(
    {
        "problemname",
        "timestamps",
        "missing",
        "univariate",
        "dimensions",
        "dimension",
        "equallength",
        "serieslength",
        "classlabel",
        "targetlabel",
        "data",
    }
)


@dataclass
class Header:
    """The tags at the beginning of a file.

    Attributes:
        file: Name of the file in messages.
        tags: Line number and words of each tag, by its name in lower case.
    """

    file: str
    tags: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def flag(self, tag: str) -> bool | None:
        """Return whether a tag says true; None if the file does not have it. Raises DataWrong for another word."""
        line, words = self.tags.get(tag, (0, ["-"]))
        first = words[0].lower() if words else ""
        if first not in ("true", "false", "-"):
            raise DataWrong(self.file, f"line {line}, @{tag}", first, "true or false")
        return None if first == "-" else first == "true"

    def count(self, tag: str) -> int | None:
        """Return the number after a tag; None if the file does not have it. Raises DataWrong for anything else."""
        line, words = self.tags.get(tag, (0, []))
        if not line:
            return None
        if len(words) != 1 or not COUNT.fullmatch(words[0]):
            raise DataWrong(self.file, f"line {line}, @{tag}", " ".join(words), "a whole number of at least 1")
        return int(words[0])

    @property
    def length(self) -> int | None:
        """Steps of every series; None if they differ or the file does not say."""
        return None if self.flag("equallength") is False else self.count("serieslength")

    @property
    def dimensions(self) -> int | None:
        """Dimensions of every series; None if the file does not say."""
        counted = self.count("dimensions") or self.count("dimension")
        if self.flag("univariate") and counted not in (None, 1):
            raise DataWrong(
                self.file, self._place("univariate"), "true", f"false, as the file has {counted} dimensions"
            )
        return 1 if self.flag("univariate") else counted

    @property
    def classes(self) -> list[str] | None:
        """Labels that the file lists; None if it lists none."""
        return self.tags["classlabel"][1][1:] or None if self.flag("classlabel") else None

    @property
    def kind(self) -> Kind | None:
        """What the last number or name of each line is: a label, a number to predict, or None for neither."""
        if self.flag("classlabel") and self.flag("targetlabel"):
            expected = "false beside @classLabel true: a file has labels or numbers to predict"
            raise DataWrong(self.file, self._place("targetlabel"), "true", expected)
        if self.flag("targetlabel"):
            return "regression"
        return "classification" if self.flag("classlabel") else None

    def _place(self, tag: str) -> str:
        return f"line {self.tags[tag][0]}, @{tag}"


def read_ts(path: Path, file: str) -> Series:
    """Read the series of a file.

    Args:
        path: The file.
        file: Name of the file in messages.

    Raises:
        DataWrong: If the file is not as described, or not as its own header says; the message names the line, the
            dimension and the value.
    """
    lines = enumerate(lines_of(read_text(path, file, comments=COMMENTS)), 1)
    header = _header(lines, file)
    rows = [(number, line) for number, line in lines if _is_content(line)]
    if not rows:
        raise DataWrong(file, "after @data", Phrase("no series"), "one series per line")
    values, labels = [], []
    for number, line in rows:
        one, label = _series(header, number, line)
        values.append(one)
        labels.append(np.array([label]))
    _check_sizes(header, [number for number, _ in rows], values)
    return Series(
        file,
        values,
        labels,
        place=lambda i, t, d: f"line {rows[i][0]}, dimension {d + 1}, value {t + 1}",
        target_place=lambda i, t, o: f"line {rows[i][0]}, label",
        classes=_listed(header.classes, {str(label[0]) for label in labels}),
        declared=header.kind,
    )


def _listed(words: list[str] | None, labels: set[str]) -> list[str] | None:
    """Return the labels that a header lists; None if it lists none, or if labels of several words stand there in words.

    Args:
        words: What follows ``@classLabel true``.
        labels: The labels of the series.
    """
    of_several = words is not None and any(" " in label for label in labels)
    return None if of_several and set(" ".join(labels).split()) <= set(words or ()) else words


def _is_content(line: str) -> bool:
    """Return whether a line is neither blank nor a comment."""
    return bool(line.strip()) and line.lstrip()[0] not in COMMENTS


def _header(lines: Iterator[tuple[int, str]], file: str) -> Header:
    header = Header(file)
    for number, line in lines:
        words = line.split()
        if not _is_content(line):
            continue
        tag = words[0].removeprefix("@").lower()
        if not words[0].startswith("@") or tag not in TAGS:
            expected = "a comment, a tag such as @classLabel, or @data before the series"
            raise DataWrong(file, f"line {number}", words[0], expected)
        if any(word.startswith("#") for word in words):
            raise DataWrong(file, f"line {number}, {words[0]}", line.strip(), "no comment behind a tag")
        if tag in header.tags and tag != "problemname" and header.tags[tag][1] != words[1:]:
            expected = f"the same as in line {header.tags[tag][0]}, or this tag once"
            raise DataWrong(file, f"line {number}, {words[0]}", " ".join(words[1:]), expected)
        header.tags[tag] = (number, words[1:])
        if tag == "data":
            if header.flag("timestamps"):
                place = f"line {header.tags['timestamps'][0]}, @timeStamps"
                raise DataWrong(file, place, "true", "false, since series with time stamps cannot be read")
            return header
    raise DataWrong(file, "the end of the file", Phrase("no @data"), "a line @data before the series")


def _series(header: Header, number: int, line: str) -> tuple[npt.NDArray[np.float64], str]:
    parts = line.split(":")
    label = parts.pop().strip() if header.kind else ""
    if not parts or (header.dimensions or len(parts)) != len(parts):
        label_too = " and a label" if header.kind else ""
        hint = "" if header.kind else "; the header announces no label (@classLabel true)"
        expected = f"{header.dimensions or 'some'} dimensions{label_too}, separated by ':'{hint}"
        raise DataWrong(header.file, f"line {number}", Phrase(f"{len(parts)} dimensions"), expected)
    columns = [_values(header.file, number, d, part) for d, part in enumerate(parts, 1)]
    for d, column in enumerate(columns, 1):
        if len(column) != len(columns[0]):
            expected = f"{len(columns[0])} values, as many as in dimension 1"
            raise DataWrong(header.file, f"line {number}, dimension {d}", Phrase(f"{len(column)} values"), expected)
    return np.stack(columns, axis=1), "" if label == MISSING else label


def _values(file: str, number: int, dimension: int, part: str) -> npt.NDArray[np.float64]:
    cells = [cell.strip() for cell in part.split(",")]
    try:
        if "" in cells:
            raise NotANumber(cells.index(""), "a number")
        return floats(["" if cell == MISSING else cell for cell in cells])
    except NotANumber as error:
        where = f"line {number}, dimension {dimension}, value {error.index + 1}"
        raise DataWrong(file, where, cells[error.index], f"{error.expected}, or ? where it is missing") from None


def _check_sizes(header: Header, numbers: list[int], values: list[npt.NDArray[np.float64]]) -> None:
    """Check that lengths, dimensions and missing values are as the header says, or else alike in all series."""
    equal = header.length or (len(values[0]) if header.flag("equallength") else None)
    for number, one in zip(numbers, values, strict=True):
        if equal is not None and len(one) != equal:
            expected = f"{equal} values, since the header says that all series have the same length"
            raise DataWrong(header.file, f"line {number}", Phrase(f"{len(one)} values"), expected)
        if one.shape[1] != values[0].shape[1]:
            expected = f"{values[0].shape[1]} dimensions, as in the first series"
            raise DataWrong(header.file, f"line {number}", Phrase(f"{one.shape[1]} dimensions"), expected)
        if header.flag("missing") is False and np.isnan(one).any():
            expected = "no missing values, since the header says @missing false; correct the header or the data"
            raise DataWrong(header.file, f"line {number}", Phrase("a missing value"), expected)
