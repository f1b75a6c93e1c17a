"""What is refused of one's own data, and in which words: tables, arrays, places of files, files that have changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.workers.examples import sweep_document
from tests.workers.tasks.own_tasks import LONG, own
from workers.errors import DataMissing, SpecError
from workers.spec.parse import parse_sweep
from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    task = own(tmp_path, LONG)
    task.training_data(tmp_path)
    (tmp_path / "data.csv").write_text(LONG.replace("s0,0,a", "s0,x,a"))
    with pytest.raises(DataWrong, match="row 2, column x"):
        task.training_data(tmp_path)


def test_a_file_that_was_exchanged_for_an_older_one_is_read_anew(tmp_path: Path) -> None:
    task = own(tmp_path, LONG, test_file=put_away(tmp_path, "test.csv"))
    assert task.training_data(tmp_path) is not None
    exchanged = tmp_path / put_away(tmp_path, "test.csv", "9")
    os.utime(exchanged, (1, 1))
    with pytest.raises(DataWrong, match="the data: found other series"):
        task.training_data(tmp_path)


def put_away(folder: Path, name: str, first: str = "0") -> str:
    """Write a file of the format of ``LONG``, whose first value is ``first``, and return its name."""
    (folder / name).write_text(f"series,x,target\nu,{first},a\nv,1,b\n")
    return name


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("s3,4,b", "s3,5,b", True),
        ("s0,0,a\ns0,1,a", "s0,0,b\ns0,1,b", True),
        ("\n", "\r\n", False),
        ("s3,4,b", "s3, 4.0 ,b", False),
    ],
)
def test_a_file_that_changed_since_it_was_submitted_is_refused(
    tmp_path: Path, old: str, new: str, changed: bool
) -> None:
    task = own(tmp_path, LONG)
    stored = OwnData.model_validate_json(task.model_dump_json())
    before = stored.training_data(tmp_path)
    assert before is not None
    (tmp_path / "data.csv").write_bytes(LONG.replace(old, new).encode())
    if changed:
        with pytest.raises(DataWrong, match=r"data\.csv, the data: found other series or targets than when the sweep"):
            stored.training_data(tmp_path)
        (tmp_path / "data.csv").write_text(LONG)
    again = stored.training_data(tmp_path)
    assert again is not None
    np.testing.assert_array_equal(again.inputs, before.inputs)


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("series,x,target\na,1,p\na,n/a,p\n", {}, "row 3, column x: found 'n/a'; expected a number"),
        ("series,x,target\na,1,p\na,,p\n", {}, "row 3, column x: found no value; expected a number; or set"),
        ("series,x,target\na,1,p\na,inf,p\n", {}, "row 3, column x: found inf; expected a finite number"),
        ("series,x,target\na,1,p\n,2,p\n", {}, "row 3, column series: found nothing; expected the name"),
        ("series,x,target\na,1,p\na,2,q\n", {}, "row 2, column target: found 'p'; expected q, as in row 3"),
        ("series,x,target\na,1,\nb,2,p\nc,3,q\n", {}, "row 2, column target: found no label; expected one of p, q"),
        ("series,x,target\na,1,5\nb,2,p\n", {"kind": "regression"}, "row 3, column target: found 'p'; expected a num"),
        ("series,x,target\na,1,5\nb,2,\n", {"kind": "regression"}, "row 3, column target: found no target"),
        ("series,step,x,target\na,1,1,p\na,1,2,p\n", {}, "row 3, column step: found '1'; expected a step after 1"),
        ("series,step,x,target\na,2,1,p\nb,0,0,p\na,1,2,p\n", {}, "row 4, column step: found '1'; expected a step a"),
        ("series,step,x,target\na,1,1,p\na,2,1,p\na,4,2,p\n", {}, "row 4, column step: found a step of 2; expected st"),
        ("series,step,x,target\na,1,1,p\na,soon,1,p\n", {}, "row 3, column step: found 'soon'; expected a number"),
        ("series,step,x,target\na,2024-01-02,1,p\na,2024-13-03,1,p\n", {}, "row 3, column step: found '2024-13-03'"),
        ("series,x,label\na,1,p\n", {}, "its columns: found series, x, label; expected a column named target"),
        ("series,x,target\na,1,p\n", {"inputs": ["y"]}, "expected a column named y"),
        ("x,target\n1,p\n", {"series": "id"}, "expected a column named id"),
        ("x,target\n1,p\n", {"every_step": True}, "expected a column series"),
        ("series,target\na,p\n", {}, "expected columns of values"),
        ("target\np\n", {}, "found a single name, 'target'; expected column names between commas"),
        ("x,target\n", {}, "the table: found no rows"),
        ("", {}, "the table: found"),
        ("x,target\n1,p\n1,p,3\n", {}, "row 3: found 3 cells; expected 2, one for each column name"),
        ("x,y,target\n1,1,p\n2,2,p\n", {}, "its targets: found the single class 'p'; expected at least two classes"),
        (
            "x,y,target\n1,1,5\n2,2,5\n",
            {"kind": "regression"},
            "its targets: found 5 everywhere; expected numbers",
        ),
        ("x,y,target\n1,1,p\n2,2,q\n", {}, "its series: found 2 series"),
    ],
)
def test_mistakes_in_a_table_are_named_with_row_and_column(
    tmp_path: Path, text: str, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataWrong) as caught:
        own(tmp_path, text, **fields).training_data(tmp_path)
    assert str(caught.value).startswith("data.csv, ")
    assert message in str(caught.value)
    assert "expected" in str(caught.value)


def test_a_row_of_a_parquet_file_counts_from_one(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"series": ["a", "a", "b", "c"], "x": [1.0, None, 2.0, 3.0], "target": pd.array([1, 1, None, 2], "Int64")}
    )
    frame.to_parquet(tmp_path / "data.parquet")
    with pytest.raises(DataWrong, match=r"data\.parquet, row 2, column x"):
        own(tmp_path, file="data.parquet")
    with pytest.raises(DataWrong, match=r"row 3, column target: found no label"):
        own(tmp_path, file="data.parquet", missing="interpolate", inputs=["x"])
    (tmp_path / "data.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataWrong, match="a parquet table"):
        own(tmp_path, file="data.parquet")


INPUTS = np.zeros((4, 3, 2))
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "fields", "message"),
    [
        ({"inputs": INPUTS}, {}, "its arrays: found inputs; expected inputs, targets"),
        ({"inputs": INPUTS, "targets": LABELS, "mask": LABELS}, {}, "its arrays: found inputs, mask, targets"),
        ({"inputs": INPUTS[0, 0], "targets": LABELS}, {}, "inputs: found shape (2,)"),
        ({"inputs": INPUTS.astype(str), "targets": LABELS}, {}, "inputs: found an array of <U"),
        ({"inputs": INPUTS, "targets": LABELS[:3]}, {}, "targets: found shape (3,); expected (4,)"),
        ({"inputs": INPUTS, "targets": LABELS}, {"every_step": True}, "targets: found shape (4,); expected (4, 3)"),
        (
            {"inputs": INPUTS, "targets": LABELS, "lengths": [1, 2, 3, 4]},
            {},
            "lengths[3]: found 4; expected a length fr",
        ),
        ({"inputs": INPUTS, "targets": LABELS, "lengths": [0.5] * 4}, {}, "lengths: found shape (4,) of float64"),
        (
            {"inputs": np.where(np.arange(24).reshape(4, 3, 2) == 9, np.nan, 0), "targets": LABELS},
            {},
            "inputs[1, 1, 1]: found no value",
        ),
        ({"inputs": INPUTS, "targets": [0, 1, -100, 1]}, {}, "targets[2]: found no label; expected one of 0, 1"),
        (
            {"inputs": INPUTS, "targets": [[0.0], [1], [np.nan], [0]]},
            {"kind": "regression"},
            "targets[2, 0]: found no target",
        ),
        ({"inputs": INPUTS, "targets": np.array([None] * 4)}, {}, "the file: found an array of another kind"),
    ],
)
def test_mistakes_in_npz_are_named_with_array_and_index(
    tmp_path: Path, arrays: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataWrong) as caught:
        own(tmp_path, file="data.npz", **fields)
    assert f"data.npz, {message}" in str(caught.value)


def test_a_single_array_under_the_name_of_an_archive_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", np.zeros((3, 4)))
    (tmp_path / "data.npy").rename(tmp_path / "data.npz")
    with pytest.raises(DataWrong, match=r"a single array.* as numpy\.savez writes it"):
        own(tmp_path, file="data.npz")


def test_what_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataWrong, match=r"data\.npz, the file"):
        own(tmp_path, file="data.npz")


@pytest.mark.parametrize(
    ("file", "allowed"),
    [
        ("../walks.csv", "inside"),
        ("/etc/walks.csv", "inside"),
        ("a/../../b.csv", "inside"),
        ("a.xlsx", ".parquet"),
        ("", "inside"),
        ("a\x00.csv", "inside"),
    ],
)
def test_a_file_lies_in_the_data_directory_and_in_a_known_format(file: str, allowed: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(task={"name": "own_data", "file": file}))
    (error,) = caught.value.errors
    assert error.field == "task.file"
    assert allowed in error.allowed


@pytest.mark.parametrize("file", ["\ud800.csv", "x" * 900 + ".csv", "folder.csv"])
def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path, file: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(task={"name": "own_data", "file": file}), tmp_path)
    assert [error.field for error in caught.value.errors] == ["task.file"]


def test_a_link_out_of_the_data_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.csv").write_text(LONG)
    (tmp_path / "data" / "data.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(DataMissing, match="leads out of the data directory"):
        own(tmp_path / "data")


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"test_file": "a.csv"}, "test_file"),
        ({"validation_file": "a.csv"}, "validation_file"),
        ({"validation_file": "b.csv", "test_file": "b.csv"}, "test_file"),
        ({"test_file": "./a.csv"}, "test_file"),
    ],
)
def test_a_file_does_not_train_and_test(fields: dict[str, str], wrong: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(task={"name": "own_data", "file": "a.csv"} | fields))
    assert [(error.field, error.given) for error in caught.value.errors] == [(f"task.{wrong}", fields[wrong])]


def test_a_classification_has_one_column_of_labels() -> None:
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(task={"name": "own_data", "file": "a.csv", "targets": ["a", "b"]}))
    assert [error.field for error in caught.value.errors] == ["task.targets"]


def test_a_mistake_in_a_file_is_told_where_the_sweep_is_parsed(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(LONG.replace("s3,4,b", "s3,four,b"))
    with pytest.raises(SpecError) as caught:
        parse_sweep(sweep_document(task={"name": "own_data", "file": "data.csv"}), tmp_path)
    (error,) = caught.value.errors
    assert (error.field, error.given) == ("task.file", "data.csv")
    assert error.problem == "data.csv, row 10, column x: found 'four'; expected a number"
