"""The ``.ts`` format of the UEA and UCR archive, as sktime and aeon write it.

Lines of ``@tag value`` (``#`` starts a comment), ``@data``, then one series a line: its dimensions divided by ``:``,
each of values divided by commas, with ``?`` for a missing one; at the end, after a further ``:``, its label.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.series import Series

TAGS = frozenset({
    "problemname", "timestamps", "missing", "univariate", "dimensions", "dimension", "equallength", "serieslength",
    "classlabel", "targetlabel", "data",
})  # fmt: skip


@dataclass
class Header:
    """What a file says of itself. ``length``: of every series, None where they differ or it does not say."""

    file: str
    tags: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def says(self, tag: str) -> bool | None:
        """true or false of a tag, None where it is not given."""
        line, words = self.tags.get(tag, (0, ["-"]))
        first = words[0].lower() if words else ""
        if first not in ("true", "false", "-"):
            raise DataWrong(self.file, f"line {line}, @{tag}", first, "true or false")
        return None if first == "-" else first == "true"

    def count(self, tag: str) -> int | None:
        line, words = self.tags.get(tag, (0, []))
        if not line:
            return None
        if len(words) != 1 or not words[0].isdecimal() or int(words[0]) < 1:
            raise DataWrong(self.file, f"line {line}, @{tag}", " ".join(words), "a whole number of at least 1")
        return int(words[0])

    @property
    def length(self) -> int | None:
        return None if self.says("equallength") is False else self.count("serieslength")

    @property
    def dimensions(self) -> int | None:
        return 1 if self.says("univariate") else self.count("dimensions") or self.count("dimension")

    @property
    def classes(self) -> list[str] | None:
        return self.tags["classlabel"][1][1:] or None if self.says("classlabel") else None

    @property
    def labelled(self) -> bool:
        return bool(self.says("classlabel") or self.says("targetlabel"))


def read_header(path: Path, file: str) -> Header:
    """What the file says of itself, without reading its series. Raises DataWrong."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return _header(enumerate(lines, 1), file)


def read_ts(path: Path, file: str) -> Series:
    """The series of a file; ``file`` is its name in messages. Raises DataWrong, naming line, dimension and value."""
    with path.open(encoding="utf-8", errors="replace") as opened:
        lines = enumerate(opened, 1)
        header = _header(lines, file)
        rows = [(number, line.strip()) for number, line in lines if line.strip() and line.lstrip()[0] not in "#%"]
    if not rows:
        raise DataWrong(file, "after @data", "no series", "one series a line")
    values, labels = [], []
    for number, line in rows:
        one, label = _series(header, number, line)
        values.append(one)
        labels.append(np.array([label]))
    _alike(header, [number for number, _ in rows], values)
    return Series(
        file, values, labels,
        place=lambda i, t, d: f"line {rows[i][0]}, dimension {d + 1}, value {t + 1}",
        target_place=lambda i, t, o: f"line {rows[i][0]}, label",
        classes=header.classes,
    )  # fmt: skip


def _header(lines: Iterator[tuple[int, str]], file: str) -> Header:
    header = Header(file)
    for number, line in lines:
        words = line.split()
        if not words or line.lstrip()[0] in "#%":
            continue
        tag = words[0].removeprefix("@").lower()
        if not words[0].startswith("@") or tag not in TAGS:
            raise DataWrong(
                file, f"line {number}", words[0], "a comment, @data, or a tag such as @classLabel before it"
            )
        header.tags[tag] = (number, words[1:])
        if tag == "data":
            if header.says("timestamps"):
                raise DataWrong(
                    file, f"line {header.tags['timestamps'][0]}, @timeStamps", "true", "values without times"
                )
            return header
    raise DataWrong(file, "its end", "no @data", "a line @data before the series")


def _series(header: Header, number: int, line: str) -> tuple[npt.NDArray[np.float64], str]:
    parts = line.split(":")
    label = parts.pop().strip() if header.labelled else ""
    if not parts or (header.dimensions or len(parts)) != len(parts):
        expected = (
            f"{header.dimensions or 'some'} dimensions{' and a label' if header.labelled else ''}, divided by ':'"
        )
        raise DataWrong(header.file, f"line {number}", f"{len(parts)} dimensions", expected)
    columns = [_values(header.file, number, d, part) for d, part in enumerate(parts, 1)]
    for d, column in enumerate(columns, 1):
        if len(column) != len(columns[0]):
            expected = f"{len(columns[0])}, as in dimension 1"
            raise DataWrong(header.file, f"line {number}, dimension {d}", f"{len(column)} values", expected)
    return np.stack(columns, axis=1), label


def _values(file: str, number: int, dimension: int, part: str) -> npt.NDArray[np.float64]:
    cells = part.replace("?", "nan").split(",")
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        for place, cell in enumerate(cells, 1):
            try:
                float(cell)
            except ValueError:
                where = f"line {number}, dimension {dimension}, value {place}"
                raise DataWrong(file, where, cell.strip(), "a number, or ? where it is missing") from None
        raise


def _alike(header: Header, numbers: list[int], values: list[npt.NDArray[np.float64]]) -> None:
    """Lengths as the header says, and as many dimensions in every series."""
    equal = header.length or (len(values[0]) if header.says("equallength") else None)
    for number, one in zip(numbers, values, strict=True):
        if equal is not None and len(one) != equal:
            expected = f"{equal}, since all are said to be equally long"
            raise DataWrong(header.file, f"line {number}", f"{len(one)} values", expected)
        if one.shape[1] != values[0].shape[1]:
            expected = f"{values[0].shape[1]}, as in the first series"
            raise DataWrong(header.file, f"line {number}", f"{one.shape[1]} dimensions", expected)
