"""The text of a data file."""

from __future__ import annotations

from pathlib import Path

from workers.decoding import TEXT, NotText, decode
from workers.tasks.readers.errors import DataWrong, Phrase

KINDS = {
    b"pk\x03\x04": "a zip archive or a spreadsheet",
    b"\x1f\x8b": "an archive of gzip",
    b"bzh": "an archive of bzip2",
    b"\xfd7zxz": "an archive of xz",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of an old form",
    b"par1": "a parquet table",
    b"\x89png": "a picture",
    b"%pdf": "a PDF document",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a pointer to a file in Git LFS",
}
"""What begins with these bytes, in lower case."""


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
    kind = kind_of(data)
    if kind is not None:
        raise DataWrong(file, "the file", Phrase(kind), "a text; unpack, convert or fetch it")
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


def kind_of(data: bytes) -> str | None:
    """Return in words what a file is by its first bytes, if it is something else than data in text; else None."""
    start = data[:100].lstrip().lower()
    return next((words for first, words in KINDS.items() if start.startswith(first)), None)
