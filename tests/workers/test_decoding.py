"""The one way from bytes to text: which encodings are read, and the place of the first byte that is not."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.decoding import NotText, decode, lines_of

TEXT = "größe,ψ\r\n1,🙂\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
)
def test_utf_8_and_marked_utf_16_are_read(data: bytes) -> None:
    assert decode(data) == TEXT


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_comes_back(text: str) -> None:
    for data in (text.encode(), codecs.BOM_UTF16_LE + text.encode("utf-16-le")):
        assert decode(data) == text.removeprefix("\ufeff") if data[:3] == codecs.BOM_UTF8 else decode(data) == text


@pytest.mark.parametrize(
    ("data", "place", "found"),
    [
        ("ok\nä: größe".encode("latin-1"), (2, 1), "E4"),
        ("ok\r\nnäher: größe".encode("cp1252"), (2, 2), "E4"),
        (b"a\rb\nc" + b"\x80", (3, 2), "80"),
        ("ψ".encode() + b"\xff", (1, 2), "FF"),
        ("ab".encode("utf-16-le"), (1, 2), "NUL"),
        (b"a,b\n1,\x00\n", (2, 3), "NUL"),
        (codecs.BOM_UTF16_LE + b"a\0b", (1, 2), "62"),
        (codecs.BOM_UTF16_LE + b"a\0\x00\xd8", (1, 2), "00 D8"),
        (codecs.BOM_UTF32_LE + "a".encode("utf-32-le"), (1, 1), "UTF-32"),
        (b"\x89PNG\r\n", (1, 1), "89"),
        (b"PK\x03\x04\xff", (1, 5), "FF"),
    ],
)
def test_other_bytes_are_refused_with_line_and_column(data: bytes, place: tuple[int, int], found: str) -> None:
    with pytest.raises(NotText) as caught:
        decode(data)
    assert (caught.value.line, caught.value.column) == place
    assert found in caught.value.found


def test_other_bytes_are_let_pass_in_comments_alone() -> None:
    assert decode(b"# \xe9\n %\xe9\r@data\n1", comments="#%").splitlines() == ["# \ufffd", " %\ufffd", "@data", "1"]
    assert decode("#\ufeff a\n1\n".encode(), comments="#") == "# a\n1\n"
    with pytest.raises(NotText, match="line 3, column 4"):
        decode(b"# \xe9\n@data\n1:a\xe9 # \xe9\n", comments="#%")
    with pytest.raises(NotText, match="line 1, column 3"):
        decode(b"# \xe9\n")


def test_a_line_ends_where_files_end_lines_and_nowhere_else() -> None:
    assert lines_of("a\nb\r\nc\rd\u2028e\x0bf\x1cg\n") == ["a", "b", "c", "d\u2028e\x0bf\x1cg"]
    assert lines_of("") == []
