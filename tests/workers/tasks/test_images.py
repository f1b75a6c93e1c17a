"""Sets of images: any size, names and packing, the official split, steps, and files that were exchanged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.workers.examples import sweep_document
from tests.workers.tasks.image_files import NAMES, idx, images_of, put
from workers.errors import DataMissing, SpecError
from workers.spec.parse import parse_sweep
from workers.tasks.idx_files import prefixes_in
from workers.tasks.images import Images
from workers.tasks.mnist import Mnist
from workers.tasks.readers.errors import DataWrong


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("height", "width", "classes"), [(5, 4, 3), (1, 7, 2), (28, 28, 10), (3, 3, 30)])
def test_a_set_of_any_size_is_read(tmp_path: Path, height: int, width: int, classes: int, packed: bool) -> None:
    images, labels, tests, test_labels = put(
        tmp_path / "mine", height=height, width=width, classes=classes, packed=packed
    )
    task = images_of(tmp_path)
    assert (task.sequence_length, task.input_size, task.output_size) == (height * width, 1, classes)
    train, validation, test = (
        task.training_data(tmp_path),
        *(task.held_out(s, tmp_path) for s in ("validation", "test")),
    )
    assert train is not None
    np.testing.assert_array_equal(test.inputs, tests.reshape(12, -1, 1) / np.float32(255))
    np.testing.assert_array_equal(test.targets, test_labels)
    read = {
        row.tobytes(): int(label) for s in (train, validation) for row, label in zip(s.inputs, s.targets, strict=True)
    }
    expected = (images.reshape(40, -1, 1) / np.float32(255)).astype(np.float32)
    assert read == {row.tobytes(): int(label) for row, label in zip(expected, labels, strict=True)}
    assert task.check_data(tmp_path) == len(train) == 40 - len(validation)


def test_every_class_validates_with_the_same_share(tmp_path: Path) -> None:
    put(tmp_path / "mine", classes=4)
    validation = images_of(tmp_path, validation=0.2).held_out("validation", tmp_path)
    assert np.bincount(validation.targets).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("order", ["rows", "columns", "permuted"])
@pytest.mark.parametrize("steps", [None, 1, 4, 5, 10, 20])
def test_pixels_are_cut_into_steps_and_put_together_again(tmp_path: Path, order: str, steps: int | None) -> None:
    *_, tests, _ = put(tmp_path / "mine")
    task = images_of(tmp_path, steps=steps, order=order)
    found = task.held_out("test", tmp_path).inputs
    assert found.shape == (12, steps or 20, 20 // (steps or 20))
    for sequence, image in zip(found, tests, strict=True):
        view = task.sample_view(sequence, tmp_path)
        assert view.image is not None
        np.testing.assert_array_equal(view.image, image / np.float32(255))
    if order == "columns":
        np.testing.assert_array_equal(found[0].ravel(), tests[0].T.ravel() / np.float32(255))


def test_labels_need_not_begin_at_zero(tmp_path: Path) -> None:
    images, _, tests, _ = put(tmp_path / "mine")
    for name, count in (("train-labels-idx1-ubyte", len(images)), ("t10k-labels-idx1-ubyte", len(tests))):
        (tmp_path / "mine" / name).write_bytes(idx((np.arange(count) % 2 * 100 + 26).astype(np.uint8)))
    task = images_of(tmp_path)
    assert task.info.classes == ["26", "126"]
    assert set(task.held_out("test", tmp_path).targets.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("dataset", "place", "prefix"),
    [
        ("mine", "mine", ""),
        ("mine", "mine/raw", ""),
        ("FashionMNIST/raw", "FashionMNIST/raw", ""),
        ("mine", "mine", "emnist-letters-"),
        ("emnist/emnist-letters", "emnist", "emnist-letters-"),
        ("mine", ".", "mine-"),
    ],
)
def test_a_set_is_found_by_its_folder_or_the_beginning_of_its_names(
    tmp_path: Path, dataset: str, place: str, prefix: str
) -> None:
    put(tmp_path / place, names=[f"{prefix}{name}" for name in NAMES], packed=True)
    assert images_of(tmp_path, dataset=dataset).output_size == 3


@pytest.mark.parametrize(
    "names",
    [
        [name.replace("-idx", ".idx") for name in NAMES],
        [name.replace("t10k", "test") for name in NAMES],
        [name.upper() for name in NAMES],
        ["train-images", "train-labels", "test_images", "test_labels"],
        [f"qmnist-{name}" for name in NAMES],
    ],
)
def test_names_as_they_are_in_use(tmp_path: Path, names: list[str]) -> None:
    put(tmp_path / "mine", names=names)
    assert images_of(tmp_path).output_size == 3


def test_the_class_of_qmnist_is_the_first_of_eight_columns(tmp_path: Path) -> None:
    images, labels, *_ = put(tmp_path / "mine")
    (tmp_path / "mine" / NAMES[1]).unlink()
    table = np.arange(8 * len(images), dtype=np.int32).reshape(-1, 8)
    table[:, 0] = labels
    (tmp_path / "mine" / "train-labels-idx2-int").write_bytes(idx(table))
    assert images_of(tmp_path).info.classes == ["0", "1", "2"]
    (tmp_path / "mine" / "train-labels-idx2-int").write_bytes(idx(table[:, :7]))
    with pytest.raises(DataWrong, match=r"train-labels-idx2-int, the file: found an array of int32 of shape \(40, 7\)"):
        images_of(tmp_path)


def test_of_several_sets_in_a_folder_one_has_to_be_named(tmp_path: Path) -> None:
    for prefix in ("emnist-letters-", "emnist-digits-"):
        put(tmp_path / "emnist", names=[f"{prefix}{name}" for name in NAMES])
    with pytest.raises(DataMissing, match=r"one of emnist/emnist-digits, emnist/emnist-letters$"):
        images_of(tmp_path, dataset="emnist")


def test_a_file_is_taken_before_its_archive(tmp_path: Path) -> None:
    put(tmp_path / "mine", packed=True)
    put(tmp_path / "mine", classes=7)
    assert images_of(tmp_path).output_size == 7


def test_folders_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    expected = put(folder, names=[name.replace("-idx", ".idx") for name in NAMES])
    for name in NAMES:  # a copy of each file in a folder of its own, and what macOS writes beside a file
        (folder / name).mkdir()
        (folder / name / name).write_bytes(b"another")
        (folder / f"._{name}").write_bytes(b"\x00\x05\x16\x07")
        (folder / f"._{name.replace('-idx', '.idx')}").write_bytes(b"\x00\x05\x16\x07")
    np.testing.assert_array_equal(images_of(tmp_path).held_out("test", tmp_path).targets, expected[3])
    assert prefixes_in(folder) == [""]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("test-images-idx3-ubyte", "t10k-images-idx3-ubyte and test-images-idx3-ubyte, each .* may be the test images"),
        ("test-labels", "t10k-labels-idx1-ubyte and test-labels, each of which may be the test labels"),
        ("train-images.idx3-ubyte", "train-images-idx3-ubyte and train-images.idx3-ubyte, .* the train images"),
        ("train-labels.gz", "train-labels-idx1-ubyte and train-labels.gz, each of which may be the train labels"),
        ("valid-images-idx3-ubyte", "has valid-images-idx3-ubyte, which would not be read: a part of the training"),
        ("validation_labels.gz", "has validation_labels.gz, which would not be read"),
        ("val-labels", "has val-labels, which would not be read"),
    ],
)
def test_files_that_nobody_could_choose_between_are_refused(tmp_path: Path, extra: str, message: str) -> None:
    put(tmp_path / "mine")
    assert images_of(tmp_path).output_size == 3
    (tmp_path / "mine" / extra).write_bytes(b"another")
    with pytest.raises(DataMissing, match=rf"mine has {message.removeprefix('has ')}"):
        images_of(tmp_path)


@pytest.mark.parametrize("other", [2, 3])
def test_test_images_and_labels_of_two_sets_are_not_paired(tmp_path: Path, other: int) -> None:
    names = [name.replace("t10k", "test") if i == other else name for i, name in enumerate(NAMES)]
    put(tmp_path / "mine", names=names)
    with pytest.raises(DataMissing, match=f"mine has {names[2]} and {names[3]}, which may belong to two sets"):
        images_of(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataMissing, match=r"no images of mine are in .*t10k-labels-idx1-ubyte\.gz.*SPECTRAL_DATA_DIR"):
        images_of(tmp_path)
    put(tmp_path / "mine")
    (tmp_path / "mine" / NAMES[3]).unlink()
    with pytest.raises(DataMissing, match=r"no file with the test labels\. Put it there, named like t10k-labels-idx1"):
        images_of(tmp_path)


@pytest.mark.parametrize("steps", [3, 7, 21, 40])
def test_steps_that_do_not_divide_the_pixels_are_refused(tmp_path: Path, steps: int) -> None:
    put(tmp_path / "mine")
    with pytest.raises(SpecError) as refused:
        parse_sweep(sweep_document(task={"name": "images", "dataset": "mine", "steps": steps}), tmp_path)
    assert f"5 x 4 pixels, which do not divide into {steps} steps" in refused.value.errors[0].problem
    assert "one of 1, 2, 4, 5, 10, 20" in refused.value.errors[0].problem
    with pytest.raises(SpecError) as swept:
        parse_sweep(
            sweep_document(task={"name": "images", "dataset": "mine"}, space={"task.steps": [4, steps]}), tmp_path
        )
    assert swept.value.errors[0].field == "space.task.steps"
    facts = {"mine": {"length": 5, "features": 4, "classes": ["0", "1"]}}
    with pytest.raises(SpecError) as given_facts:
        parse_sweep(sweep_document(task={"name": "images", "dataset": "mine", "steps": steps, "facts": facts}))
    assert given_facts.value.errors[0].field == "task.steps"


def test_facts_that_do_not_fit_the_files_are_named(tmp_path: Path) -> None:
    put(tmp_path / "mine")
    facts: dict[str, Any] = {"length": 4, "features": 5, "classes": ["0", "1", "2"]}
    with pytest.raises(DataWrong, match=r"found 5 x 4 pixels; expected 4 x 5, as task\.facts says"):
        Images.model_validate({"dataset": "mine", "facts": {"mine": facts}}).training_data(tmp_path)
    facts = {"length": 5, "features": 4, "classes": ["0", "1"]}
    with pytest.raises(DataWrong, match=r"its labels: found '2'; expected one of the classes in task\.facts"):
        Images.model_validate({"dataset": "mine", "facts": {"mine": facts}}).training_data(tmp_path)


@pytest.mark.parametrize("changed", NAMES)
def test_files_that_were_exchanged_since_the_submit_are_noticed(tmp_path: Path, changed: str) -> None:
    arrays = dict(zip(NAMES, put(tmp_path / "mine"), strict=True))
    submitted = parse_sweep(sweep_document(task={"name": "images", "dataset": "mine"}), tmp_path).task
    assert isinstance(submitted, Images)
    path = tmp_path / "mine" / changed
    before = path.stat().st_mtime_ns
    path.write_bytes(idx(arrays[changed][::-1]))  # as many of the same
    os.utime(path, ns=(before - 10**9, before - 10**9))  # as a copy that keeps the time of its original
    for read in (submitted.training_data, submitted.check_data, lambda at: submitted.held_out("test", at)):
        with pytest.raises(DataWrong, match=rf"mine/{changed}.* the data: found other images or labels than when"):
            read(tmp_path)
    assert submitted.with_statistics(tmp_path).info.statistics is None
    bare = submitted.info.model_copy(update={"digest": None})  # as earlier releases stored it
    assert submitted.model_copy(update={"facts": {"mine": bare}}).check_data(tmp_path) > 0


def test_the_digest_is_that_of_the_content_however_it_is_packed(tmp_path: Path) -> None:
    put(tmp_path / "mine")
    put(tmp_path / "packed" / "raw", names=[name.replace("t10k", "test") for name in NAMES], packed=True)
    digest = images_of(tmp_path).info.digest
    assert digest is not None
    assert images_of(tmp_path, dataset="packed").info.digest == digest


@pytest.mark.parametrize("name", ["../mine", "/mine", "", "a\\b"])
def test_a_set_outside_the_data_directory_is_refused(name: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_sweep(sweep_document(task={"name": "images", "dataset": name}))
    assert refused.value.errors[0].field == "task.dataset"


def test_a_link_that_leads_out_of_the_data_directory_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataMissing, match="leads out of the data directory"):
        images_of(tmp_path / "data")


@pytest.mark.parametrize("order", ["rows", "permuted"])
def test_mnist_is_the_same_by_either_task(data_dir: Path, order: str) -> None:
    fields = {"steps": 112, "order": order}
    mine = Images.model_validate({"dataset": "mnist"} | fields).with_info(data_dir).held_out("test", data_dir)
    theirs = Mnist.model_validate(fields).held_out("test", data_dir)
    np.testing.assert_array_equal(mine.inputs, theirs.inputs)
    np.testing.assert_array_equal(mine.targets, theirs.targets)
