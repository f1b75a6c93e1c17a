"""Long and wide tables: which column has which part, and which columns are none of the values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.workers.tasks.own_tasks import own, sizes
from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong


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


def test_a_small_file_of_immense_extent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataWrong, match=r"the table: found .* only"):
        own(tmp_path, "target," + ",".join(f"t{n}" for n in range(30_000)) + "\n" + "a,1\nb,2\n" * 3_000)
    long = "".join(f"long,{n % 7},a\n" for n in range(30_000))
    with pytest.raises(DataWrong, match=r"its series: found .* most far shorter"):
        own(tmp_path, "series,x,target\n" + long + "".join(f"s{n},1,b\n" for n in range(30_000)))
