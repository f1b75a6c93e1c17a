"""Shapes, splits, fixed seeds and missing data of every task."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.errors import DataMissing
from workers.tasks import METRICS, TASKS, Task
from workers.tasks.adding import Adding
from workers.tasks.copy_memory import Copy
from workers.tasks.digits import Digits
from workers.tasks.image_sequences import permutation
from workers.tasks.mnist import FILES, Mnist, _images

OFFLINE = [Adding(length=7), Copy(length=3), Digits()]
NEEDED: dict[str, dict[str, Any]] = {
    "images": {"dataset": "a", "facts": {"a": {"length": 2, "features": 2, "classes": ["0", "1"]}}},
    "own_data": {"file": "a.csv", "facts": {"a.csv": {"length": 4, "features": 1, "classes": ["no", "yes"]}}},
    "text": {"file": "mine.txt"},
    "ucr": {"dataset": "A", "facts": {"A": {"length": 4, "features": 1, "classes": ["1", "2"]}}},
}
"""Fields without a default, by task."""


def check_set(task: Task, found: Any) -> None:
    assert found.inputs.dtype == np.float32
    assert found.inputs.shape[1:] == (task.sequence_length, task.input_size)
    steps = (task.sequence_length,) if task.readout == "every" else ()
    if task.loss == "cross_entropy":
        assert found.targets.dtype == np.int64
        assert found.targets.shape == (len(found), *steps)
        assert np.array_equal(np.unique(found.targets), np.arange(task.output_size))
    else:
        assert found.targets.dtype == np.float32
        assert found.targets.shape == (len(found), *steps, task.output_size)


@pytest.mark.parametrize("task", OFFLINE, ids=lambda task: task.name)
def test_sets_have_the_promised_shapes_and_repeat(task: Task) -> None:
    for split in ("validation", "test"):
        found = task.held_out(split, None)
        check_set(task, found)
        again = task.held_out(split, None)
        assert np.array_equal(found.inputs, again.inputs)
    validation, test = task.held_out("validation", None), task.held_out("test", None)
    assert not np.array_equal(validation.inputs[:50], test.inputs[:50])


@pytest.mark.parametrize("name", sorted(TASKS))
def test_the_table_names_tasks_by_their_own_name(name: str) -> None:
    task = TASKS[name].model_validate({"name": name} | NEEDED.get(name, {}))
    assert task.name == name  # type: ignore[attr-defined]
    assert task.metrics.items() <= METRICS.items()
    assert task.metrics.items() <= TASKS[name].metrics.items()
    assert "loss" in task.metrics
    assert task.summary.endswith(".")
    assert task.baseline > 0


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_task_reads_files_if_it_needs_a_data_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.tasks.mnist.MIRROR", "http://127.0.0.1:9/")
    task = TASKS[name].model_validate({"name": name} | NEEDED.get(name, {}))
    if task.reads_files:
        with pytest.raises(DataMissing, match="SPECTRAL_DATA_DIR"):
            task.held_out("test", tmp_path)
    else:
        assert len(task.held_out("test", tmp_path))


def test_pooch_is_imported_only_to_fetch_a_file() -> None:
    code = (
        "import sys, workers.tasks, workers.tasks.data_folder as folder; folder.folder_of(None); "
        "assert 'workers.tasks.mnist' in sys.modules and 'pooch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_field_of_a_task_is_described(name: str) -> None:
    fields = TASKS[name].model_fields
    assert [field for field, info in fields.items() if not info.description] == []


@pytest.mark.parametrize("task", OFFLINE, ids=lambda task: task.name)
def test_a_task_says_whether_every_step_draws_fresh_data(task: Task) -> None:
    assert task.draws_fresh == (task.training_data(None) is None)


def test_digits_are_split_without_overlap() -> None:
    task = Digits()
    sets = [task.training_data(None), task.held_out("validation", None), task.held_out("test", None)]
    assert [len(found) for found in sets if found] == [1197, 300, 300]
    rows = [row.tobytes() for found in sets if found for row in found.inputs]
    from sklearn.datasets import load_digits

    original = load_digits()
    pixels = (original.data / 16).astype(np.float32)
    assert len(rows) == 1797
    assert set(rows) == {row.tobytes() for row in pixels}
    classes = {row.tobytes(): label for row, label in zip(pixels, original.target, strict=True)}
    labels = [label for found in sets if found for label in found.targets]
    assert labels == [classes[row] for row in rows]
    assert all(found.inputs.min() == 0 and found.inputs.max() == 1 for found in sets if found)


def test_adding_marks_one_value_in_each_half_and_sums_them() -> None:
    task = Adding(length=9)
    found = task.fresh(np.random.default_rng(0), 200)
    values, markers = found.inputs[..., 0], found.inputs[..., 1]
    assert np.array_equal(markers[:, :4].sum(1), np.ones(200))
    assert np.array_equal(markers[:, 4:].sum(1), np.ones(200))
    assert set(np.unique(markers)) == {0.0, 1.0}
    np.testing.assert_allclose((values * markers).sum(1), found.targets[:, 0], rtol=1e-6)
    assert task.training_data(None) is None


def test_the_baseline_of_adding_is_the_variance_of_its_targets() -> None:
    task = Adding(length=9)
    targets = task.fresh(np.random.default_rng(1), 20_000).targets
    assert task.baseline == pytest.approx(float(((targets - 1) ** 2).mean()), rel=0.03)


def test_copy_shows_symbols_and_wants_them_back_after_the_delimiter() -> None:
    task = Copy(length=4)
    found = task.fresh(np.random.default_rng(0), 50)
    assert np.array_equal(found.inputs.sum(-1), np.ones((50, 24)))
    shown = found.inputs.argmax(-1)
    assert shown[:, :10].max() == 7
    assert shown[:, :10].min() == 0
    assert np.array_equal(shown[:, 10:], np.tile([8, 8, 8, 9, *[8] * 10], (50, 1)))
    assert np.array_equal(found.targets[:, :14], np.full((50, 14), 8))
    assert np.array_equal(found.targets[:, 14:], shown[:, :10])


@pytest.mark.parametrize(("length", "baseline"), [(100, 0.1733), (200, 0.0945), (500, 0.0400), (2000, 0.0103)])
def test_the_baseline_of_copy_is_blanks_and_a_uniform_guess(length: int, baseline: float) -> None:
    task = Copy(length=length)
    assert task.baseline == pytest.approx(baseline, abs=5e-5)
    assert task.sequence_length == length + 20
    assert task.recalled == 10


def test_a_fixed_task_has_no_fresh_sequences() -> None:
    with pytest.raises(TypeError, match="fixed training set"):
        Digits().fresh(np.random.default_rng(0), 1)


def test_altered_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    for name in FILES:
        (tmp_path / "mnist" / name).write_bytes(gzip.compress(b"not the images"))
    with pytest.raises(DataMissing, match="checksum differs"):
        Mnist().held_out("test", tmp_path)


def test_images_that_cannot_be_fetched_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.tasks.mnist.MIRROR", "http://127.0.0.1:9/")
    with pytest.raises(DataMissing, match="SPECTRAL_DATA_DIR"):
        Mnist().held_out("test", tmp_path)


@pytest.mark.parametrize("steps", [28, 784])
def test_mnist_is_read_row_by_row(data_dir: Path, steps: int) -> None:
    task = Mnist(steps=steps)
    train = task.training_data(data_dir)
    assert train is not None
    sets = [train, task.held_out("validation", data_dir), task.held_out("test", data_dir)]
    assert [len(found) for found in sets] == [55_000, 5_000, 10_000]
    for found in sets:
        check_set(task, found)
    images, labels = _images("train", data_dir)
    assert np.array_equal(train.inputs[3].ravel(), images[3].ravel() / np.float32(255))
    assert np.array_equal(sets[1].targets, labels[-5_000:])


def test_permuted_mnist_shows_the_same_images_in_the_published_order(data_dir: Path) -> None:
    rows, permuted = Mnist().held_out("test", data_dir), Mnist(order="permuted", steps=112).held_out("test", data_dir)
    order = np.random.RandomState(92916).permutation(784)
    assert np.array_equal(permutation(), order)
    assert permuted.inputs.shape == (10_000, 112, 7)
    assert np.array_equal(permuted.inputs.reshape(10_000, 784), rows.inputs[:, order, 0])
    assert np.array_equal(permuted.targets, rows.targets)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"cut short" * 100, mtime=0)[:40]],
    ids=["empty", "no archive", "cut short"],
)
def test_damaged_archives_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mnist").mkdir()
    for name in FILES:
        (tmp_path / "mnist" / name).write_bytes(content)
    with pytest.raises(DataMissing, match=r"t10k-images-idx3-ubyte\.gz is (damaged|not the published)"):
        Mnist().held_out("test", tmp_path)
