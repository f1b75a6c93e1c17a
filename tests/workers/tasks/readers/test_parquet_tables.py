"""Tables in parquet files: the index that pandas wrote, columns of other types, what pandas would not write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.workers.tasks.own_tasks import FRAME, sizes
from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong


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


@pytest.mark.parametrize("column", ["nested", "dated"])
def test_a_column_that_has_no_numbers_is_refused_only_where_it_is_read(tmp_path: Path, column: str) -> None:
    frame = FRAME.assign(nested=[[1, 2]] * 5, dated=pd.Timestamp("2024-01-01"))
    frame[["series", "step", "x", "target", column]].to_parquet(tmp_path / "data.parquet")
    assert sizes(OwnData(file="data.parquet", inputs=["x"]).with_info(tmp_path)) == (2, 1)
    with pytest.raises(DataWrong, match=f"column {column}: found .*; expected (a column of )?numbers"):
        OwnData(file="data.parquet").with_info(tmp_path)


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
