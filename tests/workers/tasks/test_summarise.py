"""The summary of a task's data shows the targets of the first series as they are read, whatever the file's types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workers.tasks.image_files import put
from workers.tasks.images import Images
from workers.tasks.own_data import OwnData
from workers.tasks.summarise import summarise


def first_targets(folder: Path, targets: np.ndarray, **fields: Any) -> tuple[list[str], list[str]]:
    """Return the targets shown for the first of 40 series of 6 steps, and the labels of the classes."""
    inputs = np.random.default_rng(0).normal(size=(40, 6, 2))
    np.savez(folder / "a.npz", inputs=inputs, targets=targets)
    found = summarise(OwnData.model_validate({"file": "a.npz"} | fields), folder)
    assert found.first is not None
    return found.first.targets, [one.label for one in found.classes]


@pytest.mark.parametrize(
    ("pair", "shown"),
    [
        (np.array([b"a", b"b"]), "a"),
        (np.array(["1.00", "2.00"]), "1"),
        (np.array([0.0, 1.0]), "0"),
        (np.array([3, 4], np.int8), "3"),
        (np.array([True, False]), "True"),
        (np.array([" a ", "b"]), "a"),
    ],
)
def test_the_label_of_the_first_series_is_that_of_its_class(tmp_path: Path, pair: np.ndarray, shown: str) -> None:
    targets, classes = first_targets(tmp_path, np.tile(pair, 20))
    assert targets == [shown]
    assert shown in classes


def test_the_labels_of_the_first_steps_are_those_of_classes(tmp_path: Path) -> None:
    steps = np.tile([0.0, 1.0, np.nan, -100, 1.0, 0.0], (40, 1))
    targets, classes = first_targets(tmp_path, steps, every_step=True)
    assert targets == ["0", "1", "none", "none", "1"]
    assert classes == ["0", "1"]


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (np.arange(40) * 0.1 + 0.1, "0.1"),
        (np.arange(40), "0"),
        (np.arange(40).astype(np.float32) - 100, "-100"),
        (np.array(["1.50", "2e3"] * 20), "1.5"),
    ],
)
def test_a_number_to_predict_is_shown_as_it_is_read(tmp_path: Path, column: np.ndarray, shown: str) -> None:
    assert first_targets(tmp_path, column, kind="regression") == ([shown], [])


def test_numbers_of_the_first_steps_are_shown_side_by_side(tmp_path: Path) -> None:
    steps = np.random.default_rng(1).normal(size=(40, 6, 2))
    steps[0, :3] = [[0.5, 1], [np.nan, 2], [3, np.nan]]
    targets, _ = first_targets(tmp_path, steps, kind="regression", every_step=True)
    assert targets[:3] == ["0.5, 1", "none, 2", "3, none"]


def test_images_are_idx_files_whatever_their_names(tmp_path: Path) -> None:
    put(tmp_path / "mine", names=["train-images", "train-labels", "test-images", "test-labels"])
    found = summarise(Images(dataset="mine"), tmp_path)
    assert (found.format, found.image) == ("idx", (5, 4))
    assert found.first is not None
    assert found.first.targets[0] in ("0", "1", "2")
