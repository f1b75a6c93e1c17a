"""The text of a data file."""

from __future__ import annotations

from pathlib import Path

from workers.decoding import TEXT, NotText, decode
from workers.tasks.readers.errors import DataWrong, Phrase


def read_text(path: Path, file: str, *, comments: str = "") -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte-order mark; the mark is left out.

    Args:
        path: The file.
        file: Name of the file in messages.
        comments: Characters that begin a comment line, in which bytes of any encoding are let pass.

    Raises:
        DataWrong: If the file is not such a text, or cannot be opened; the message names the line and the column.
    """
    return text_of(content(path, file), file, comments=comments)


def text_of(data: bytes, file: str, *, comments: str = "") -> str:
    """Return the bytes of a file as text, as ``read_text`` does."""
    try:
        return decode(data, comments=comments)
    except NotText as error:
        raise DataWrong(file, f"line {error.line}, column {error.column}", Phrase(error.found), TEXT) from None


def content(path: Path, file: str) -> bytes:
    """Return the bytes of a file. Raises DataWrong if it cannot be opened."""
    try:
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        expected = "a file that this process may open"
        raise DataWrong(file, "the file", Phrase(f"that it cannot be read ({reason})"), expected) from None
