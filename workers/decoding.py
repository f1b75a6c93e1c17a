"""The one way from bytes to text, for data files and for documents."""

from __future__ import annotations

import codecs
import re

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, ""),  # begins like the mark of UTF-16, so it has to be looked for before that
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The marks at the beginning of a text and the encoding that each stands for; empty for one that is not read."""
MARK = "\ufeff"
"""A byte-order mark in decoded text."""


class NotText(ValueError):
    """Bytes are not text in UTF-8, nor in UTF-16 with a byte-order mark.

    Attributes:
        line: Line of the first wrong byte, from 1.
        column: Its column in the line, in characters from 1.
        found: What stands there, in words.
    """

    def __init__(self, line: int, column: int, found: str) -> None:
        self.line, self.column, self.found = line, column, found
        super().__init__(f"line {line}, column {column}: found {found}; expected {TEXT}")


TEXT = "text in UTF-8, or in UTF-16 with a byte-order mark; save the file as UTF-8"
"""What is expected of bytes, in words for messages."""


def decode(data: bytes, *, comments: str = "") -> str:
    """Return bytes as text: UTF-8 with or without a byte-order mark, or UTF-16 with one. The mark is left out.

    Args:
        data: The bytes.
        comments: ASCII characters that begin a comment line. Bytes in a comment that are not UTF-8 become U+FFFD,
            because nothing is read from a comment. No comments by default.

    Raises:
        NotText: If the bytes are in another encoding, or hold a NUL character, as UTF-16 without a mark does, or a
            byte-order mark that is not at the beginning.
    """
    mark, encoding = next((pair for pair in MARKS if data.startswith(pair[0])), (b"", "utf-8"))
    if not encoding:
        raise NotText(1, 1, "the byte-order mark of UTF-32")
    body = data[len(mark) :]
    if comments and encoding == "utf-8":
        body = re.sub(_comment_lines(comments), _readable, body)
    try:
        text = body.decode(encoding)
    except UnicodeDecodeError as error:
        before = body[: error.start].decode(encoding)
        wrong = error.object[error.start : error.end].hex(" ").upper()
        raise NotText(*_place(before), f"the bytes {wrong} (hexadecimal)") from None
    if "\0" in text:
        before = text[: text.index("\0")]
        raise NotText(*_place(before), "a NUL character, as UTF-16 without a byte-order mark has")
    if MARK in text:
        before = text[: text.index(MARK)]
        found = "a byte-order mark inside of the text, as in files that were joined"
        raise NotText(*_place(before), found)
    return text


def with_line_feeds(text: str) -> str:
    """Return a text whose lines end with LF instead of CR LF or CR."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def lines_of(text: str) -> list[str]:
    """Return the lines of a text without their ends. A line ends with LF, CR LF or CR, and nowhere else."""
    lines = with_line_feeds(text).split("\n")
    return lines if lines[-1] else lines[:-1]


def _readable(line: re.Match[bytes]) -> bytes:
    """Return a comment line in UTF-8, with U+FFFD for other bytes and without byte-order marks."""
    return line[0].decode("utf-8", "replace").replace(MARK, "").encode()


def _comment_lines(comments: str) -> bytes:
    return rb"(?:\A|(?<=[\r\n]))[ \t]*[" + re.escape(comments.encode()) + rb"][^\r\n]*"


def _place(before: str) -> tuple[int, int]:
    """Return the line and the column, from 1, of what follows a text."""
    before = with_line_feeds(before)
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
