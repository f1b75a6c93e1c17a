"""One label function for every format: which values are one label, which are none, and which are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.label import NotALabel, label_of

FORMATS = ("csv", "parquet", "npz", "ts")


def task_of(folder: Path, suffix: str, targets: Any, **fields: Any) -> OwnData:
    """The task on a file of this format, whose series (two steps of one feature) have these targets."""
    path = folder / f"data.{suffix}"
    values = np.arange(2.0 * len(targets)).reshape(-1, 2)
    if suffix == "npz":
        np.savez(path, inputs=values, targets=np.array(targets))
    elif suffix == "ts":
        lines = [f"{a},{b}:{target}" for (a, b), target in zip(values, targets, strict=True)]
        path.write_text("\n".join(["@problemName Mine", "@univariate true", "@classLabel true", "@data", *lines]))
    else:
        frame = pd.DataFrame(values, columns=["t0", "t1"])
        frame["target"] = targets
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path, index=False)
    return OwnData(file=path.name, **fields).with_info(folder)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        ([1, 2, 1, 10], ["1", "2", "10"]),
        ([1.0, 2.0, 1.0, 10.0], ["1", "2", "10"]),
        (["1", "2.0000000e+00", "1.0", "1e+01"], ["1", "2", "10"]),
        ([True, False, True, False], ["False", "True"]),
        (["true", "FALSE", "True", "false"], ["False", "True"]),
        (["b", "a", "b", "a"], ["a", "b"]),
        (["007", "7", "007", "7"], ["007", "7"]),
        (["1e1", "10", "1e1", "2a"], ["10", "1e1", "2a"]),
        (["1.5", "a", "1.50", "a"], ["1.5", "a"]),
        ([9007199254740993, 9007199254740992, 9007199254740993, 1], ["1", "9007199254740992", "9007199254740993"]),
        ([-1, 1, -1, 0], ["-1", "0", "1"]),
        ([" a", "a ", "b", "b"], ["a", "b"]),
        (["caf\u00e9", "cafe\u0301", "b", "b"], ["b", "caf\u00e9"]),
    ],
)
def test_a_label_is_the_same_in_every_format(
    tmp_path: Path, suffix: str, targets: list[Any], classes: list[str]
) -> None:
    assert task_of(tmp_path, suffix, targets).info.classes == classes


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "NULL", "null", " ", "-100", "-nan"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_missing_label_is_missing_in_every_format(tmp_path: Path, suffix: str, missing: str) -> None:
    with pytest.raises(DataWrong, match="found no label; expected one of a, b"):
        task_of(tmp_path, suffix, ["a", missing, "b", "b"])


@pytest.mark.parametrize(
    "column", [pd.array([2**60 + 1, None, 2**60, 3], "Int64"), pd.Categorical(["a", None, "b", "b"])]
)
def test_null_in_a_typed_column_is_missing_and_its_neighbours_stay_exact(tmp_path: Path, column: Any) -> None:
    frame = pd.DataFrame({"series": [1, 2, 3, 4], "x": 1.0, "target": column})
    frame.to_parquet(tmp_path / "data.parquet")
    task = OwnData(file="data.parquet", every_step=True).with_info(tmp_path)
    assert task.info.classes == [str(label) for label in sorted(filter(lambda one: one == one, set(column.dropna())))]
    with pytest.raises(DataWrong, match="row 2, column target: found no label"):
        OwnData(file="data.parquet").with_info(tmp_path)


@pytest.mark.parametrize("word", ["NA", "<NA>", "NaT", "None", "N/A", "n/a", "#N/A", "#DIV/0!", "1.#QNAN", "b\u200b"])
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_stands_for_a_missing_label_elsewhere_is_no_class(tmp_path: Path, suffix: str, word: str) -> None:
    with pytest.raises(DataWrong, match=r"expected (an empty cell for a missing label|a text without invisible)"):
        task_of(tmp_path, suffix, ["a", word, "b", "b"])


@pytest.mark.parametrize("targets", [["0.5", "1.5", "2.5", "a"], ["0,5", "1,5", "2", "0,5"], [".5", "1.5", "x", "2.5"]])
@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_a_name_among_measurements_makes_no_classes_of_them(tmp_path: Path, suffix: str, targets: list[str]) -> None:
    with pytest.raises(DataWrong, match="expected whole numbers or names as classes; or, to predict numbers, set the"):
        task_of(tmp_path, suffix, targets)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_truths_are_ones_and_zeros_to_predict_in_every_format(tmp_path: Path, suffix: str) -> None:
    task = task_of(tmp_path, suffix, [True, False] * 6, kind="regression")
    assert task.info.baseline == 0.25


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("targets", [[0.5, 1.0, 2.0, 0.5], ["0.5", "1", "2", "1"], [1e-3, 0, 1, 0]])
def test_fractions_are_no_classes(tmp_path: Path, suffix: str, targets: list[Any]) -> None:
    with pytest.raises(DataWrong, match="expected whole numbers or names as classes; or, to predict numbers, set the"):
        task_of(tmp_path, suffix, targets)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("targets", [["a"] * 4, [1, 1, 1, 1], ["1", "1.0", "1e+0", "+1"]])
def test_a_single_class_is_refused(tmp_path: Path, suffix: str, targets: list[Any]) -> None:
    with pytest.raises(DataWrong, match="found the single class"):
        task_of(tmp_path, suffix, targets)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_a_constant_target_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataWrong, match=r"its targets: found 2\.5 everywhere"):
        task_of(tmp_path, suffix, [2.5] * 4, kind="regression")


@pytest.mark.parametrize(
    ("targets", "every_step", "shape"),
    [
        (np.eye(3)[[0, 1, 2, 0, 1, 2]], False, r"\(6, 3\)"),
        (np.eye(2, dtype=int)[[0, 1] * 3], False, r"\(6, 2\)"),
        (np.eye(2, dtype=bool)[[0, 1] * 3], False, r"\(6, 2\)"),
        (np.zeros((6, 2)), False, r"\(6, 2\)"),
        (np.eye(2)[np.zeros((6, 2), int)], True, r"\(6, 2, 2\)"),
        (np.array([["a", "b"]] * 6), False, r"\(6, 2\)"),
    ],
)
def test_one_hot_rows_and_several_columns_are_refused(
    tmp_path: Path, targets: np.ndarray, every_step: bool, shape: str
) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.zeros((6, 2)), targets=targets)
    with pytest.raises(DataWrong, match=rf"targets: found shape {shape}; expected one label for each"):
        OwnData(file="data.npz", every_step=every_step).with_info(tmp_path)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_a_single_column_of_labels_may_have_an_axis(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.zeros((6, 2)), targets=np.array([0, 1] * 3).reshape(shape))
    assert OwnData(file="data.npz").with_info(tmp_path).info.classes == ["0", "1"]


def test_bytes_are_text_in_utf_8(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.zeros((4, 2)), targets=np.array([b"\xc3\xa4", b"b", b"b", b"1.0"]))
    assert OwnData(file="data.npz").with_info(tmp_path).info.classes == ["1", "b", "ä"]
    np.savez(tmp_path / "data.npz", inputs=np.zeros((4, 2)), targets=np.array([b"\xe4", b"b", b"b", b"b"]))
    with pytest.raises(DataWrong, match=r"targets\[0\]: found b'\\xe4'; expected text in UTF-8"):
        OwnData(file="data.npz").with_info(tmp_path)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_floats_that_cannot_tell_labels_apart_are_refused(tmp_path: Path, dtype: Any) -> None:
    exact = 2 ** (np.finfo(dtype).nmant + 1)
    np.savez(tmp_path / "data.npz", inputs=np.zeros((4, 2)), targets=np.array([exact, exact - 1, 1, 2], dtype))
    assert OwnData(file="data.npz").with_info(tmp_path).info.classes == ["1", "2", str(exact - 1), str(exact)]
    np.savez(tmp_path / "data.npz", inputs=np.zeros((4, 2)), targets=np.array([exact + 2, 1, 1, 2], dtype))
    with pytest.raises(DataWrong, match="expected a label up to"):
        OwnData(file="data.npz").with_info(tmp_path)


def test_classes_of_the_facts_are_in_any_notation_but_each_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.arange(40.0).reshape(20, 2), targets=np.array([1, 2] * 10))
    facts = {"length": 2, "features": 1, "classes": ["2.0", "1.0"]}
    train = OwnData.model_validate({"file": "data.npz", "facts": {"data.npz": facts}}).training_data(tmp_path)
    assert train is not None
    assert [int(label) for label in train.targets] == [int(first / 2) % 2 == 0 for first in train.inputs[:, 0, 0]]
    doubled = {"file": "data.npz", "facts": {"data.npz": facts | {"classes": ["1", "1.0", "2"]}}}
    with pytest.raises(DataWrong, match="each label once"):
        OwnData.model_validate(doubled).training_data(tmp_path)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (np.int64(3).item(), "3"),
        ("1e999999", "1e999999"),
        ("1e99999999999999999999", "1e99999999999999999999"),
        ("9" * 100_000, "9" * 100_000),
        ("-0", "0"),
        ("0.0", "0"),
        ("+5.", "5"),
        ("\u0661", "\u0661"),
        ("1_0", "1_0"),
        (b"x", "x"),
    ],
)
def test_odd_values_have_a_label(value: Any, label: str) -> None:
    assert label_of(value) == label


@pytest.mark.parametrize("value", [float("inf"), "inf", "-Infinity", "a\0b", "a\u00adb"])
def test_infinity_and_invisible_characters_are_no_labels(value: Any) -> None:
    with pytest.raises(NotALabel):
        label_of(value)


def test_a_label_for_each_step_is_asked_for_where_its_shape_says_so(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.zeros((6, 4)), targets=np.zeros((6, 4), int))
    with pytest.raises(DataWrong, match="or every_step, for one label for each step"):
        OwnData(file="data.npz").with_info(tmp_path)


def test_more_classes_than_a_network_has_outputs_for_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", inputs=np.zeros((100_001, 1)), targets=np.arange(100_001))
    with pytest.raises(DataWrong, match="found 100,001 classes; expected at most 100,000"):
        OwnData(file="data.npz").with_info(tmp_path)
