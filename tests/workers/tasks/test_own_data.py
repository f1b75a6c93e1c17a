"""Every format of one's own data, the splits, the page about it, a net that learns from a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.workers.examples import make_assignment, sweep_document
from tests.workers.tasks.own_tasks import LONG, own, parts_of, steps_of
from workers.protocol import Ended, Measured, Report
from workers.runtime.train_pack import train
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep
from workers.tasks.own_data import OwnData
from workers.tasks.readers.errors import DataWrong

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "own-data.md").read_text()


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


def test_what_may_be_allowed_is(tmp_path: Path) -> None:
    text = "series,step,x,target\n" + "".join(
        f"s{n},0,1,{label}\ns{n},1,,{label}\ns{n},5,3,{label}\n" for n, label in enumerate("ppppqqq")
    )
    task = own(tmp_path, text, uneven=True, missing="interpolate", normalize=True)
    train = task.training_data(tmp_path)
    assert train is not None
    np.testing.assert_allclose(train.inputs[0, :, 0], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)


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
