"""Tables: names as the file gives them, cells between commas, numbers by a pattern, marks and encodings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.workers.tasks.own_tasks import FRAME, own, sizes
from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong


@pytest.mark.parametrize(
    ("names", "place", "found"),
    [
        (",series,step,x,target", 1, "no name"),
        ("series,step,x,,target", 4, "no name"),
        ("series,step,x, ,target", 4, "no name"),
        ("series,step,x,target,", 5, "no name"),
        ("series,step,x,target,target", 5, "'target' twice"),
        ("series,step,x,x,target", 4, "'x' twice"),
        ("series,step,x,x ,target", 4, "'x' twice"),
        ("series,step,x 1,x1,target", 4, "'x1' beside 'x 1'"),
        ('series,step,"x\t1",x 1,target', 4, "'x 1' beside"),
        ("series,series,x,y,target", 2, "'series' twice"),
        ("Unnamed: 0,series,step,x,target", 1, "no name"),
        ("series,step,x,Unnamed: 3,target", 4, "no name"),
        ('"","series",step,x,target', 1, "no name"),
        ("target,step,series,x,target", 5, "'target' twice"),
    ],
)
def test_names_that_are_missing_or_stand_twice_are_refused(tmp_path: Path, names: str, place: int, found: str) -> None:
    with pytest.raises(DataWrong) as caught:
        own(tmp_path, names + "\n" + "0,1,2,3,a\n1,2,3,4,b\n")
    assert f"the name of column {place}: found {found}" in str(caught.value)


def test_a_table_library_s_row_numbers_are_refused(tmp_path: Path) -> None:
    for layout in (FRAME, FRAME[["x", "target"]], FRAME[["target", "x"]]):
        with pytest.raises(DataWrong, match=r"the name of column 1: found no name; .* leave out one that counts rows"):
            own(tmp_path, layout.to_csv())
    assert sizes(own(tmp_path, FRAME.to_csv(index_label="row"), inputs=["x"])) == (2, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("series;step;x;target\ns0;0;0,05;a\n", "row 1: found cells between semicolons"),
        ("series\tstep\tx\ttarget\ns0\t0\t0.05\ta\n", "row 1: found cells between tabs"),
        ('"";"target";"a"\n"1";"p";"2"\n', "row 1: found cells between semicolons"),
        ('target;a;"b, mm"\np;1;2\n', "row 1: found cells between semicolons"),
        (
            "# series,x,y,target\n0,1,2,a\n",
            "row 1: found '# series'; expected column names; a csv file has no comments",
        ),
        ("series,x,target\ns0,1,a\n#s1,1,b\n", "row 3: found '#s1'; expected cells; a csv file has no comments"),
        ("0,1,2\n3,4,5\n", "row 1: found nothing but numbers; expected column names"),
        ("x,y,target\n" + "1,2,3,a\n" * 3, "row 1: found one name too few"),
        ("series|step|x|target\ns0|0|0.05|a\n", "row 1: found cells between vertical bars"),
        ("# exported\nseries,step,x,target\n", "row 1: found '# exported'; expected column names"),
        ("sep=;\nseries;step;x;target\n", "row 1: found 'sep=;'; expected column names; leave out this line"),
        ("sep=,\nseries,step,x,target\n", "row 1: found 'sep=,'"),
        ("x y target\n1 2 a\n", "row 1: found a single name, 'x y target'; expected column names"),
        ('x,"y\nz",target\n1,2,a\n', "the name of column 2: found 'y\\nz'; expected a name on one line"),
        ('x,y,target\n0,5,"a\n1,4,b"\n2,3,a\n3,3,b\n', "row 2, column target: found 'a\\n1,4,b'; expected a text on"),
        ('series,x,target\n"a\nb",4,c\n', "row 2, column series: found 'a\\nb'; expected a text on one line"),
        ("\nseries,step,x,target\n", "row 1: found an empty row; expected column names"),
        ("series,x,target\ns0,0,5,a\n", "row 2: found 4 cells; expected 3"),
        ("series,x,target\ns0,1,a\ns0,1\n", "row 3: found 2 cells; expected 3"),
        ("series,x,target\ns0,1,a\n\ns1,1,b\n", "row 3: found an empty row; expected cells"),
        ("series,x,target\ns0,1,a,\n", "row 2: found 4 cells; expected 3"),
        ('series,x,target\ns0,1,"a\n', "row 2: found a quotation mark"),
        ('series,x,target\ns0,1,"a"b\n', "row 2: found a quotation mark"),
    ],
)
def test_another_form_of_table_is_refused_with_its_row(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataWrong) as caught:
        own(tmp_path, text)
    assert f"data.csv, {words}" in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('"0,5"', "a number with a decimal point, not a comma"),
        ("1_100", "a number without separators"),
        ('"1,100.5"', "a number without separators"),
        ('"1,100"', "a number with a decimal point, and without separators of thousands"),
        ('"1.100,5"', "a number without separators"),
        ("1 100", "a number without separators"),
        ("1'100", "a number without separators"),
        ("1\u202f100", "a number without separators"),
        ("\u0661\u0662", "a number in the digits 0 to 9"),
        ("\uff11", "a number in the digits 0 to 9"),
        ("\u22120.5", "a number with a hyphen as its minus sign"),
        ("0x10", "a number"),
        ("1e", "a number"),
        ("NA", "a number"),
        ("True", "a number"),
        ("1+2j", "a number"),
        ("1.2.3", "a number without separators"),
    ],
)
def test_a_cell_that_is_not_written_as_a_number_is_refused(tmp_path: Path, cell: str, expected: str) -> None:
    for fields in ({"inputs": ["x"]}, {"kind": "regression", "targets": ["x"], "inputs": ["y"]}):
        with pytest.raises(DataWrong) as caught:
            own(tmp_path, f"series,x,y,target\na,1,1,p\nb,{cell},1,q\n", **fields)
        assert f"row 3, column x: found {cell.strip(chr(34))!r}; expected {expected}" in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1", 1),
        ("-0.5", -0.5),
        (".5", 0.5),
        ("5.", 5),
        ("+1e-3", 0.001),
        ("1E2", 100),
        (" 7 ", 7),
        ("\t7", 7),
        ("0012", 12),
    ],
)
def test_numbers_in_every_usual_notation_are_read(tmp_path: Path, cell: str, number: float) -> None:
    task = own(tmp_path, "target,x\n" + f"p,{cell}\nq,{cell}\n" * 4, inputs=["x"])
    assert task.held_out("test", tmp_path).inputs.ravel().tolist() == [np.float32(number)] * 2


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "NULL", "null", "-nan", " "])
def test_a_missing_value_is_missing_in_every_notation(tmp_path: Path, cell: str) -> None:
    text = f"series,x,target\na,1,p\na,{cell},p\na,3,p\nb,1,q\n"
    with pytest.raises(DataWrong, match="row 3, column x: found no value"):
        own(tmp_path, text)
    assert sizes(own(tmp_path, text, missing="interpolate")) == (3, 1)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"PK\x03\x04\x14\x00", "a zip archive or a spreadsheet"),
        (b"\x1f\x8b\x08\x00", "an archive of gzip"),
        (b"PAR1\x15", "a parquet table"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer to a file in Git LFS"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page"),
    ],
)
def test_another_kind_of_file_under_the_name_of_a_table_is_named(tmp_path: Path, data: bytes, found: str) -> None:
    with pytest.raises(DataWrong, match=f"the file: found {found}; expected a text; unpack, convert or fetch it"):
        own(tmp_path, data)


def test_files_that_were_joined_with_their_marks_are_refused(tmp_path: Path) -> None:
    part = "target,a,b\np,1,2\nq,3,4\n"
    with pytest.raises(DataWrong, match="line 4, column 1: found a byte-order mark inside of the text"):
        own(tmp_path, (part + "\ufeffp,1,2\n").encode("utf-8-sig"))
    with pytest.raises(DataWrong, match="line 1, column 1: found a byte-order mark inside"):
        own(tmp_path, ("\ufeff" + part).encode("utf-8-sig"))


def test_marks_and_encodings_change_nothing(tmp_path: Path) -> None:
    text = "series,größe,target\na,1,grün\nb,2,weiß\n"
    for data in (text.encode(), text.encode("utf-8-sig"), text.encode("utf-16"), text.replace("\n", "\r\n").encode()):
        assert own(tmp_path, data, inputs=["größe"]).info.classes == ["grün", "weiß"]
    with pytest.raises(DataWrong, match="line 1, column 10: found the bytes F6"):
        own(tmp_path, text.encode("latin-1"))


def test_a_name_that_begins_like_a_comment_is_read_in_quotation_marks(tmp_path: Path) -> None:
    rows = "".join(f'"#{n}",{n}.5,{"ab"[n % 2]}\n' for n in range(8))
    assert own(tmp_path, "series,x,target\n" + rows).info.classes == ["a", "b"]


@pytest.mark.parametrize("cells", [["True", "False"], ["true", "FALSE"]])
def test_a_column_of_truths_is_ones_and_zeros_in_every_format(tmp_path: Path, cells: list[str]) -> None:
    text = "series,x,target\n" + "".join(f"{n},{cells[n % 2]},{'ab'[n % 2]}\n" for n in range(8))
    found = own(tmp_path, text).held_out("test", tmp_path).inputs.ravel().tolist()
    pd.DataFrame({"series": range(8), "x": [True, False] * 4, "target": list("ab") * 4}).to_parquet(
        tmp_path / "data.parquet"
    )
    task = OwnData(file="data.parquet").with_info(tmp_path)
    assert found == task.held_out("test", tmp_path).inputs.ravel().tolist() == [1, 0]
