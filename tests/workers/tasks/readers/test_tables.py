"""Tables: names as the file gives them, cells between commas, numbers by a pattern, an index, rows that are ragged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong

ROWS = [("s0", 0, 1.5, "a"), ("s0", 1, 2.5, "a"), ("s1", 0, 3.5, "b"), ("s1", 1, 4.5, "b"), ("s2", 0, 5.5, "a")]
FRAME = pd.DataFrame(ROWS, columns=["series", "step", "x", "target"])


def own(folder: Path, text: str | bytes, **fields: Any) -> OwnData:
    """The task with its facts, on ``data.csv`` with this text."""
    (folder / "data.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return OwnData.model_validate({"file": "data.csv"} | fields).with_info(folder)


def sizes(task: OwnData) -> tuple[int, int]:
    return task.info.length, task.info.features


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


@pytest.mark.parametrize("index", [None, "series", ["series", "step"], ["series"], "target", ["step", "target"]])
def test_a_named_index_of_a_parquet_table_becomes_columns(tmp_path: Path, index: Any) -> None:
    (FRAME if index is None else FRAME.set_index(index)).to_parquet(tmp_path / "data.parquet")
    task = OwnData(file="data.parquet").with_info(tmp_path)
    assert (sizes(task), task.info.classes) == ((2, 1), ["a", "b"])


def test_a_counted_index_with_a_name_becomes_a_column_and_one_without_is_nothing(tmp_path: Path) -> None:
    counted = FRAME.drop(columns="step")
    counted.index = pd.RangeIndex(10, 20, 2, name="clock")
    counted.to_parquet(tmp_path / "data.parquet")
    assert sizes(OwnData(file="data.parquet", step="clock").with_info(tmp_path)) == (2, 1)
    FRAME.to_parquet(tmp_path / "data.parquet")
    assert sizes(OwnData(file="data.parquet").with_info(tmp_path)) == (2, 1)


@pytest.mark.parametrize(
    "index", [pd.Index([3, 1, 2, 5, 4]), [FRAME["series"], pd.Index([0, 2, 1, 4, 3])], pd.Index(list("abcde"))]
)
def test_an_index_without_a_name_is_refused(tmp_path: Path, index: Any) -> None:
    FRAME.drop(columns="series").set_index(index).to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataWrong, match="the index of the table: found a level without a name"):
        OwnData(file="data.parquet").with_info(tmp_path)


def test_the_same_name_in_index_and_columns_is_refused(tmp_path: Path) -> None:
    frame = FRAME.copy()
    frame.index = pd.RangeIndex(5, name="step")
    frame.to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataWrong, match="'step' twice"):
        OwnData(file="data.parquet").with_info(tmp_path)


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


@pytest.mark.parametrize(
    ("text", "fields", "words"),
    [
        ("step,x,target\n0,1,a\n1,2,b\n", {}, "column step: found the name of a series or a time"),
        ("time,x,target\n0,1,a\n1,2,b\n", {}, "column time: found the name of a series or a time"),
        ("Timestamp,x,target\n0,1,a\n1,2,b\n", {}, "column Timestamp: found the name of a series or a time"),
        ("t,x,target\n0,1,a\n1,2,b\n", {"step": "t"}, "found a column of steps, t, but none of series"),
        ("data,target\n1,a\n2,b\n", {}, "found a single column of values, data; expected the fields series and step"),
        ("id,series,x,target\nu,v,1,p\nw,z,2,q\n", {"series": "id"}, "column series: found this name among the values"),
        ("x,target,label\n1,0,p\n2,1,q\n", {"targets": ["label"]}, "column target: found this name among the values"),
        ("t0,t1,t10,t2,target\n1,2,3,4,p\n2,3,4,5,q\n", {}, "found t2 after t10; expected columns in the order"),
        ("t2,t1,t0,target\n1,2,3,p\n2,3,4,q\n", {}, "found t1 after t2; expected columns in the order"),
        ("Series,x,y,target\na,1,1,p\nb,2,2,q\n", {}, "found a column named 'Series'; expected the name series"),
        ("series,Step,y,target\na,1,1,p\nb,2,2,q\n", {}, "found a column named 'Step'; expected the name step"),
        ("series,x,Target\na,1,p\nb,2,q\n", {}, "expected a column named target; did you mean 'Target'?"),
        ("x,y,target\n1,1,p\n2,2,q\n", {"series": "target"}, "found target as series and as target or input"),
        ("series,x,target\na,1,p\nb,2,q\n", {"inputs": ["x", "target"]}, "found target as an input and as a target"),
        ("x,target\n1,p\n2,q\n", {"inputs": ["target", "x"]}, "found target as an input and as a target"),
    ],
)
def test_a_column_with_the_wrong_part_is_refused(tmp_path: Path, text: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(DataWrong) as caught:
        own(tmp_path, text, **fields)
    assert words in str(caught.value)


@pytest.mark.parametrize("column", ["nested", "dated"])
def test_a_column_that_has_no_numbers_is_refused_only_where_it_is_read(tmp_path: Path, column: str) -> None:
    frame = FRAME.assign(nested=[[1, 2]] * 5, dated=pd.Timestamp("2024-01-01"))
    frame[["series", "step", "x", "target", column]].to_parquet(tmp_path / "data.parquet")
    assert sizes(OwnData(file="data.parquet", inputs=["x"]).with_info(tmp_path)) == (2, 1)
    with pytest.raises(DataWrong, match=f"column {column}: found .*; expected (a column of )?numbers"):
        OwnData(file="data.parquet").with_info(tmp_path)


@pytest.mark.parametrize("name", ["index", "level_0", "id", "row", "x"])
def test_a_column_that_counts_the_rows_is_refused_unless_it_is_listed(tmp_path: Path, name: str) -> None:
    rows = [(7 + n, f"s{n // 3}", n * 0.5, "ab"[n // 3 % 2]) for n in range(12)]
    long = pd.DataFrame(rows, columns=[name, "series", "y", "target"])
    wide = pd.DataFrame({name: range(12), "t0": 1.5, "t1": 2.5, "target": list("ab") * 6})
    for table in (long, wide.rename(columns={"index": "level_0"})):
        with pytest.raises(DataWrong, match=r"column (\w+): found the (numbers of the rows|name of a series)"):
            own(tmp_path, table.to_csv(index=False))
        listed = [column for column in table.columns if column not in ("series", "target")]
        assert own(tmp_path, table.to_csv(index=False), inputs=listed).info.classes == ["a", "b"]


def test_a_name_that_begins_like_a_comment_is_read_in_quotation_marks(tmp_path: Path) -> None:
    rows = "".join(f'"#{n}",{n}.5,{"ab"[n % 2]}\n' for n in range(8))
    assert own(tmp_path, "series,x,target\n" + rows).info.classes == ["a", "b"]


def long_frame(series: str, step: str, shuffled: bool = False) -> pd.DataFrame:
    """A long table of 40 series of 6 steps under these names, as other programs write it."""
    rng = np.random.default_rng(0)
    rows = [(i, t, rng.normal(), rng.normal(), "ab"[i % 2]) for i in range(40) for t in range(6)]
    frame = pd.DataFrame(rows, columns=[series, step, "x", "y", "target"])
    return frame.sample(frac=1, random_state=0) if shuffled else frame


@pytest.mark.parametrize(
    ("series", "step"),
    [
        ("instances", "timepoints"),
        ("case_id", "reading_id"),
        ("unique_id", "ds"),
        ("id", "t"),
        ("ID", "Time (s)"),
        ("Patient", "Visit"),
        ("recording", "sample"),
        ("a", "b"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_long_table_under_other_names_is_not_read_as_a_wide_one(
    tmp_path: Path, series: str, step: str, suffix: str
) -> None:
    frame = long_frame(series, step)
    path = tmp_path / f"data.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.set_index([series, step]).to_parquet(path)
    with pytest.raises(DataWrong, match=r"found (the name of a series or a time|rows that \w+ gathers to series)"):
        OwnData(file=path.name).with_info(tmp_path)
    assert sizes(OwnData(file=path.name, series=series, step=step).with_info(tmp_path)) == (6, 2)


@pytest.mark.parametrize("name", ["time", "t", "Timestamp", "date", "Time [ms]", "index", "level_1"])
def test_times_of_a_long_table_are_no_features_unless_they_are_listed(tmp_path: Path, name: str) -> None:
    text = long_frame("series", name).to_csv(index=False)
    with pytest.raises(DataWrong, match=r"found (times among the values|the numbers of the rows)"):
        own(tmp_path, text)
    assert sizes(own(tmp_path, text, inputs=[name, "x"])) == (6, 2)
    assert sizes(own(tmp_path, text, step=name)) == (6, 2)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Unnamed: 0.1", range(40)),
        ("...1", range(40)),
        ("X", range(1, 41)),
        ("row_nr", range(40)),
        ("patient", range(1000, 1040)),
        ("X", np.random.default_rng(0).permutation(40) + 1000),
        ("X", [*range(0, 40, 2), *range(1, 40, 2)]),
        ("X", [n for n in range(60) if n % 3][:40]),
    ],
)
def test_numbers_of_rows_are_found_in_any_order(tmp_path: Path, name: str, numbers: Any) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: numbers, **{f"t{t}": rng.normal(size=40) for t in range(5)}, "target": list("ab") * 20})
    with pytest.raises(DataWrong, match=r"found (no name|the name of a series|the numbers of the rows)"):
        own(tmp_path, frame.to_csv(index=False))
    assert own(tmp_path, frame.drop(columns=name).to_csv(index=False)).info.length == 5


def test_whole_numbers_that_are_values_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"t{t}": rng.integers(0, 30, 40) for t in range(8)} | {"target": list("ab") * 20})
    assert own(tmp_path, frame.to_csv(index=False)).info.length == 8


@pytest.mark.parametrize(("first", "second"), [("csv", "csv"), ("csv", "parquet"), ("parquet", "csv")])
def test_features_of_another_file_are_taken_by_their_names(tmp_path: Path, first: str, second: str) -> None:
    def write(frame: pd.DataFrame, name: str, suffix: str) -> str:
        path = tmp_path / f"{name}.{suffix}"
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
        return path.name

    train = pd.DataFrame({"series": range(8), "x": 1.0, "y": 2.0, "target": list("ab") * 4})
    turned = train[["series", "y", "x", "target"]].head(2)
    files = {"file": write(train, "train", first), "test_file": write(turned, "turned", second)}
    assert OwnData(**files).with_info(tmp_path).held_out("test", tmp_path).inputs.tolist() == [[[1, 2]]] * 2
    for wrong in (turned.rename(columns={"x": "z"}), turned.assign(z=3.0), turned.drop(columns="x")):
        with pytest.raises(DataWrong, match=r"other\.\w+, its (columns of values|series): found"):
            OwnData(**files | {"test_file": write(wrong, "other", second)}).with_info(tmp_path)


def test_rows_of_a_series_are_together_or_alternate_if_no_step_tells_their_order(tmp_path: Path) -> None:
    header, rows = "series,x,target\n", [f"s{n},{n}.5,{'ab'[n % 2]}\n" for n in range(4)]
    alternating = header + "".join(rows * 5)
    assert own(tmp_path, alternating).info.length == 5
    block = "".join(row * 5 for row in rows)
    assert own(tmp_path, header + block).info.length == 5
    with pytest.raises(DataWrong, match="row 22, column series: found 's0'; expected the rows of a series together"):
        own(tmp_path, header + block * 2)


def test_a_wide_and_a_long_table_are_not_of_one_task(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("series,a,target\n0,1.5,p\n1,2.5,q\n")
    with pytest.raises(
        DataWrong, match=r"long\.csv, its columns: found a long table, .* expected a wide table, .* data"
    ):
        own(tmp_path, "target,a,b\n" + "p,1,2\nq,3,4\n" * 4, test_file="long.csv")


def test_steps_of_another_wide_table_have_the_same_order(tmp_path: Path) -> None:
    (tmp_path / "longer.csv").write_text("target,a,b,c\na,1,2,3\nb,1,2,3\n")
    (tmp_path / "turned.csv").write_text("target,b,a\na,2,1\nb,2,1\n")
    text = "target,a,b\n" + "a,1,2\nb,3,4\n" * 4
    assert own(tmp_path, text, test_file="longer.csv").info.length == 3
    with pytest.raises(DataWrong, match=r"turned\.csv, its columns of values: found b, a; expected a, b, as"):
        own(tmp_path, text, test_file="turned.csv")


@pytest.mark.parametrize("cells", [["True", "False"], ["true", "FALSE"]])
def test_a_column_of_truths_is_ones_and_zeros_in_every_format(tmp_path: Path, cells: list[str]) -> None:
    text = "series,x,target\n" + "".join(f"{n},{cells[n % 2]},{'ab'[n % 2]}\n" for n in range(8))
    found = own(tmp_path, text).held_out("test", tmp_path).inputs.ravel().tolist()
    pd.DataFrame({"series": range(8), "x": [True, False] * 4, "target": list("ab") * 4}).to_parquet(
        tmp_path / "data.parquet"
    )
    task = OwnData(file="data.parquet").with_info(tmp_path)
    assert found == task.held_out("test", tmp_path).inputs.ravel().tolist() == [1, 0]


def test_an_index_that_counts_other_rows_than_the_table_has_is_refused(tmp_path: Path) -> None:
    frame = FRAME.drop(columns="step")
    frame.index = pd.RangeIndex(5, name="step")
    table = pa.Table.from_pandas(frame)
    for changed, counted in ((pa.concat_tables([table, table]), 5), (table.slice(1, 3), 5)):
        pq.write_table(changed, tmp_path / "data.parquet")
        with pytest.raises(DataWrong, match=f"the index of the table: found {counted} counted rows"):
            OwnData(file="data.parquet").with_info(tmp_path)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_day_are_steps_but_no_features(tmp_path: Path, unit: str) -> None:
    clock = pa.array([1, 2, 1, 2, 7], pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit))
    table = pa.Table.from_pandas(FRAME.drop(columns="step")).append_column("clock", clock)
    pq.write_table(table, tmp_path / "data.parquet")
    assert sizes(OwnData(file="data.parquet", step="clock").with_info(tmp_path)) == (2, 1)
    with pytest.raises(DataWrong, match=r"row 1, column clock: found .*; expected numbers"):
        OwnData(file="data.parquet").with_info(tmp_path)


def test_a_small_file_of_immense_extent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataWrong, match=r"the table: found .* only"):
        own(tmp_path, "target," + ",".join(f"t{n}" for n in range(30_000)) + "\n" + "a,1\nb,2\n" * 3_000)
    long = "".join(f"long,{n % 7},a\n" for n in range(30_000))
    with pytest.raises(DataWrong, match=r"its series: found .* most far shorter"):
        own(tmp_path, "series,x,target\n" + long + "".join(f"s{n},1,b\n" for n in range(30_000)))


@pytest.mark.parametrize(
    "metadata",
    [
        b"{",
        b"[" * 5_000,
        b"\xff",
        b"null",
        b'{"index_columns": null}',
        b'{"index_columns": [{"name": "a"}]}',
        b'{"index_columns": [{"name": "a", "start": 0, "stop": "x", "step": 1}]}',
        b'{"index_columns": [{"name": "a", "start": 0, "stop": 5, "step": 0}]}',
        b'{"index_columns": [{"name": "a", "start": 0, "stop": 1e99, "step": 1}]}',
        b'{"index_columns": [{"name": "a", "start": 0, "stop": 1000000000000, "step": 1}]}',
        b'{"index_columns": [{"name": "a", "start": 0, "stop": 99999999999999999999999999, "step": 1}]}',
        b'{"index_columns": [7]}',
    ],
)
def test_what_pandas_would_not_write_about_a_table_is_refused(tmp_path: Path, metadata: bytes) -> None:
    table = pa.Table.from_pandas(FRAME).replace_schema_metadata({b"pandas": metadata})
    pq.write_table(table, tmp_path / "data.parquet")
    with pytest.raises(DataWrong, match=r"data\.parquet, the (file|index of the table): found"):
        OwnData(file="data.parquet").with_info(tmp_path)
