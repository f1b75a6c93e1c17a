"""Mistakes in a data file."""

from __future__ import annotations

from typing import Any

from workers.errors import DataMissing


class DataWrong(DataMissing):
    """A data file holds something else than its format or its task needs; the task cannot be trained until it is put
    right. Names the file, the place in it, what was found and what is expected."""

    def __init__(self, file: str, place: str, found: Any, expected: str) -> None:
        shown = found if isinstance(found, str) and found[:1] == "(" else repr(found)
        super().__init__(f"{file}, {place}: found {shown if len(shown) <= 120 else shown[:117] + '...'}; "
                         f"expected {expected}")  # fmt: skip
