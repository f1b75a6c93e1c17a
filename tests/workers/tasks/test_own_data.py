"""Every format, what is refused and in which words, the splits, the page about it, a net that learns from a file."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.workers.examples import make_assignment, sweep_document
from workers.errors import DataMissing, SpecError
from workers.protocol import Ended, Measured, Report
from workers.runtime.train_pack import train
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep
from workers.tasks import Sequences
from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "own-data.md").read_text()
LONG = "series,x,target\n" + "".join(f"s{n},{n + t},{'ab'[n % 2]}\n" for n in range(8) for t in range(2 + n % 2))


def own(folder: Path, text: str | None = None, /, **fields: Any) -> OwnData:
    """The task with its facts, on ``data.csv`` with this text."""
    if text is not None:
        (folder / "data.csv").write_text(text)
    return OwnData.model_validate({"name": "own_data", "file": "data.csv"} | fields).with_info(folder)


def parts_of(task: OwnData, folder: Path) -> list[Sequences]:
    found = task.training_data(folder)
    assert found is not None
    return [found, task.held_out("validation", folder), task.held_out("test", folder)]


def steps_of(task: OwnData, folder: Path) -> dict[tuple[float, ...], Any]:
    """Targets of all series of the task by their values of feature 0, in all three sets."""
    found = {}
    for part in parts_of(task, folder):
        lengths = part.lengths if part.lengths is not None else np.full(len(part), task.sequence_length)
        for inputs, target, length in zip(part.inputs, part.targets, lengths, strict=True):
            assert (inputs[length:] == 0).all()
            found[tuple(inputs[:length, 0].tolist())] = target.tolist()
    return found


def test_a_long_table(tmp_path: Path) -> None:
    task = own(tmp_path, LONG)
    assert (task.sequence_length, task.input_size, task.output_size) == (3, 1, 2)
    assert (task.readout, task.loss, list(task.metrics)) == ("last", "cross_entropy", ["loss", "accuracy"])
    assert task.baseline == pytest.approx(np.log(2))
    view = task.sample_view(np.zeros((3, 1)), tmp_path)
    assert (view.class_names, view.feature_names) == (["a", "b"], None)
    assert steps_of(task, tmp_path) == {tuple(float(n + t) for t in range(2 + n % 2)): n % 2 for n in range(8)}


def test_features_are_named_where_columns_are(tmp_path: Path) -> None:
    named = own(tmp_path, LONG, inputs=["x"])
    assert named.sample_view(np.zeros((3, 1)), tmp_path).feature_names == ["x"]
    wide = own(tmp_path, "target,a,b\np,1,2\nq,1,2\n", inputs=["b", "a"])
    assert (wide.sample_view(np.zeros((2, 1)), tmp_path).feature_names, wide.input_size) == (None, 1)


def test_times_a_millisecond_apart_are_even(tmp_path: Path) -> None:
    text = "series,step,x,target\n" + "".join(f"a,2024-05-01T12:00:00.{t:03d}Z,{t},p\n" for t in range(50))
    text += "b,2024-05-01T12:00:00Z,1,q\n"
    assert own(tmp_path, text).sequence_length == 50
    with pytest.raises(DataWrong, match=r"row 4, column step: found a step of 0\.002"):
        own(tmp_path, text.replace("a,2024-05-01T12:00:00.002Z,2,p\n", ""))


def test_rows_of_different_series_may_alternate(tmp_path: Path) -> None:
    rows = [
        f"{series},{step},{value},{label}\n"
        for step in range(2)
        for series, value, label in [(7, step, 1), (8, 10 + step, 2), (9, 20 + step, 1), (10, 30 + step, 2)]
    ]
    task = own(tmp_path, "series,step,x,target\n" + "".join(rows), validation=0.25, test=0.25)
    assert steps_of(task, tmp_path) == {(0.0, 1.0): 0, (10.0, 11.0): 1, (20.0, 21.0): 0, (30.0, 31.0): 1}


def test_a_wide_table_and_its_empty_ends(tmp_path: Path) -> None:
    text = "a,b,target,c\n1,2,0.5,3\n4,5,1.5,\n6,,2.5,\n7,8,3.5,9\n"
    task = own(tmp_path, text, kind="regression", validation=0.25, test=0.25)
    assert (task.loss, list(task.metrics)) == ("mse", ["loss", "error"])
    assert (task.sequence_length, task.input_size, task.output_size) == (3, 1, 1)
    assert task.baseline == pytest.approx(1.25)
    assert steps_of(task, tmp_path) == {(1, 2, 3): [0.5], (4, 5): [1.5], (6,): [2.5], (7, 8, 9): [3.5]}


def test_a_target_for_every_step_and_steps_without_one(tmp_path: Path) -> None:
    text = "series,x,target\na,1,no\na,2,\nb,3,yes\nc,4,no\nc,5,no\nc,6,yes\n"
    task = own(tmp_path, text, every_step=True)
    assert task.readout == "every"
    found = steps_of(task, tmp_path)
    assert found == {(1, 2): [0, -100, -100], (3,): [1, -100, -100], (4, 5, 6): [0, 0, 1]}
    numbers = own(tmp_path, text.replace("no", "0.5").replace("yes", "1.5"), every_step=True, kind="regression")
    np.testing.assert_equal(steps_of(numbers, tmp_path)[1, 2], [[0.5], [np.nan], [np.nan]])


@pytest.mark.parametrize("every_step", [False, True])
def test_npz_and_parquet_give_what_csv_gives(tmp_path: Path, every_step: bool) -> None:
    rng = np.random.default_rng(0)
    inputs, lengths = rng.normal(size=(9, 4, 2)).round(3), np.array([4, 2, 3] * 3)
    labels = rng.integers(0, 3, (9, 4)) if every_step else np.repeat(rng.permutation(9)[:, None] % 3, 4, axis=1)
    np.savez(
        tmp_path / "data.npz",
        inputs=inputs,
        lengths=lengths,
        targets=labels if every_step else labels[:, 0].astype(str),
    )
    rows = [
        {"series": n, "step": t * 0.1, "a": inputs[n, t, 0], "b": inputs[n, t, 1], "target": labels[n, t]}
        for n in range(9)
        for t in range(lengths[n])
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "data.csv", index=False)
    pd.DataFrame(rows).to_parquet(tmp_path / "data.parquet")
    files = ["data.csv", "data.npz", "data.parquet"]
    tasks = [own(tmp_path, file=file, every_step=every_step) for file in files]
    assert tasks[0].info == tasks[1].info == tasks[2].info
    for first, *others in zip(*(parts_of(task, tmp_path) for task in tasks), strict=True):
        for other in others:
            np.testing.assert_allclose(first.inputs, other.inputs, rtol=1e-6)
            np.testing.assert_array_equal(first.targets, other.targets)
            np.testing.assert_array_equal(first.lengths, other.lengths)


def test_parts_are_drawn_by_seed_and_overlap_nowhere(tmp_path: Path) -> None:
    text = "target,a\n" + "".join(f"{'ab'[n % 2]},{n}\n" for n in range(40))
    sets = parts_of(own(tmp_path, text, inputs=["a"], validation=0.2, test=0.1), tmp_path)
    assert [len(part) for part in sets] == [28, 8, 4]
    assert all(np.bincount(part.targets).tolist() == [len(part) // 2] * 2 for part in sets)
    assert sorted(float(x) for part in sets for x in part.inputs.ravel()) == list(range(40))
    again = parts_of(own(tmp_path, inputs=["a"], validation=0.2, test=0.1, split_seed=1), tmp_path)
    assert not np.array_equal(sets[2].inputs, again[2].inputs)


def test_a_label_of_a_few_steps_is_trained_on_whatever_is_drawn(tmp_path: Path) -> None:
    labels = ["a", "b", "a", "b", "a", "b", "rare", "a"]
    text = "series,x,target\n" + "".join(f"{n},{n},{label}\n{n},{n},a\n" for n, label in enumerate(labels))
    for seed in range(20):
        train, validation, test = parts_of(own(tmp_path, text, every_step=True, split_seed=seed), tmp_path)
        assert set(train.targets.ravel()) == {0, 1, 2}
        assert [len(train), len(validation), len(test)] == [6, 1, 1]
    text = "series,x,target\n" + "".join(f"{n},{n},{label}\n" for n, label in enumerate("abcd"))
    with pytest.raises(DataWrong, match="at least two series with the same labels to divide"):
        own(tmp_path, text, every_step=True).training_data(tmp_path)


def test_files_of_their_own_validate_and_test(tmp_path: Path) -> None:
    for name in ("v", "t"):
        (tmp_path / f"{name}.csv").write_text(f"target,a,b\nx,{ord(name)},1\ny,2,3\n")
    task = own(tmp_path, "target,a,b\nx,1,\ny,2,\n", validation_file="v.csv", test_file="t.csv")
    assert task.sequence_length == 2
    sets = parts_of(task, tmp_path)
    assert [part.inputs[0, 0, 0] for part in sets] == [1, ord("v"), ord("t")]
    (tmp_path / "t.csv").write_text("target,a,b\nx,1,2\nz,2,3\n")
    with pytest.raises(DataWrong, match=r"t\.csv, row 3, column target: found 'z'; expected one of x, y"):
        own(tmp_path, validation_file="v.csv", test_file="t.csv")


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


def test_what_may_be_allowed_is(tmp_path: Path) -> None:
    text = "series,step,x,target\n" + "".join(
        f"s{n},0,1,{label}\ns{n},1,,{label}\ns{n},5,3,{label}\n" for n, label in enumerate("ppppqqq")
    )
    task = own(tmp_path, text, uneven=True, missing="interpolate", normalize=True)
    train = task.training_data(tmp_path)
    assert train is not None
    np.testing.assert_allclose(train.inputs[0, :, 0], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)


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


def test_the_page_is_true(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files are read by its tasks, and its messages are those of its mistakes."""
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"```(?:csv|ts) (\S+)\n(.*?)```", PAGE, re.S):
        (tmp_path / name).write_text(text)
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        exec(compile(code, "own-data.md", "exec"), {})
    tasks = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
    assert [task["file"] for task in tasks] == [
        "walks.csv",
        "loads.csv",
        "rooms.csv",
        "waves.npz",
        "beats.ts",
        "walks.csv",
    ]
    for document in tasks:
        task = parse_sweep(sweep_document(task=document), tmp_path).task
        assert isinstance(task, OwnData)
        assert all(len(part) for part in parts_of(task, tmp_path))
        assert steps_of(task, tmp_path)
    walks = (tmp_path / "walks.csv").read_text()
    (messages,) = re.findall(r"```text\n(.*?)```", PAGE, re.S)
    for old, new in (("bert,1,0.1", "bert,1,n/a"), ("anna,2", "anna,1")):
        (tmp_path / "walks.csv").write_text(walks.replace(old, new))
        with pytest.raises(DataWrong) as caught:
            own(tmp_path, file="walks.csv")
        assert f"{caught.value}\n" in messages


def test_the_example_s_facts_are_its_file_s() -> None:
    document = json.loads((ROOT / "examples" / "own-data.json").read_text())
    task = OwnData.model_validate(document["task"])
    read = task.read_info(ROOT / "examples" / "data")
    assert task.info == read.model_copy(update={"baseline": None, "digest": None})
    assert read.baseline == pytest.approx(np.log(2))


@pytest.mark.parametrize("every_step", [False, True])
def test_a_net_learns_from_a_file(tmp_path: Path, every_step: bool) -> None:
    """Series of different lengths whose target, the sum of their values so far, a linear net can reach."""
    rng = np.random.default_rng(0)
    inputs, lengths = rng.normal(size=(80, 6, 1)), rng.integers(2, 7, 80)
    sums = inputs.cumsum(axis=1)[:, :, 0]
    targets = sums if every_step else sums[np.arange(80), lengths - 1]
    np.savez(tmp_path / "sums.npz", inputs=inputs, targets=targets, lengths=lengths)
    task = {"name": "own_data", "file": "sums.npz", "kind": "regression", "every_step": every_step}
    sweep = parse_sweep(
        sweep_document(
            task=task,
            model={"hidden_size": 8, "reflectors": 2, "activation": "identity"},
            training={"steps": 120, "batch_size": 16, "report_every": 120, "lr": 0.03},
            space={"training.seed": [0]},
        ),
        tmp_path,
    )
    reports: list[Report] = []
    trial = plan_trial(sweep, 0, {"training.seed": 0}).require_spec()
    train(make_assignment(tmp_path / "out", [trial], data_dir=str(tmp_path)), reports.append)
    assert [(r.outcome, r.reason) for r in reports if isinstance(r, Ended)] == [("succeeded", None)]
    (last,) = [r.values for r in reports if isinstance(r, Measured)]
    assert last["val/loss"] < 0.1 * trial.task.baseline
    assert last["val/error"] == pytest.approx(last["val/loss"] ** 0.5, rel=1e-4)
