"""Mistakes in data files."""

from __future__ import annotations

from typing import Any

from workers.errors import DataMissing

LONGEST = 120


class Phrase(str):
    """Words for what was found, such as ``no value``; a message shows them without quotation marks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class DataWrong(DataMissing):
    """A data file contains something that its format or the task does not allow.

    The message names the file, the place in it, what was found there and what is expected instead.
    """

    def __init__(self, file: str, place: str, found: Any, expected: str) -> None:
        """Write the message.

        Args:
            file: Name of the file as the user gave it.
            place: Place in the file, such as ``row 3, column x``.
            found: The value that was found there, shown with its quotation marks; a ``Phrase`` is shown without.
            expected: What is allowed, in words that say what to write instead or which field of the task to set.
        """
        shown = repr(found)
        shown = shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."
        super().__init__(f"{file}, {place}: found {shown}; expected {expected}", file)
