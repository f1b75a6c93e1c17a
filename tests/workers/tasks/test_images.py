"""Sets of images in IDX files: any size, names and packing, the official split, and what is refused in which words."""

from __future__ import annotations

import gzip
import io
import math
import os
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.workers.examples import sweep_document
from workers.errors import DataMissing, SpecError
from workers.spec.parse import parse_sweep
from workers.tasks.idx_files import MAX_BYTES, TYPES, prefixes_in, read_idx
from workers.tasks.images import Images
from workers.tasks.mnist import Mnist
from workers.tasks.readers.errors import DataWrong

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CODES = {np.dtype(name): code for code, name in TYPES.items()}


def idx(array: np.ndarray, shape: tuple[int, ...] | None = None) -> bytes:
    """The content of an IDX file, as its description says; with another shape in its header if one is given."""
    sizes = array.shape if shape is None else shape
    kind = CODES[array.dtype.newbyteorder(">") if array.dtype.itemsize > 1 else array.dtype]
    header = struct.pack(f">HBB{len(sizes)}I", 0, kind, len(sizes), *sizes)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def packed_idx(*content: Any) -> bytes:
    """The same in a gzip archive, whose bytes do not depend on the time."""
    return gzip.compress(idx(*content), mtime=0)


def pictures(count: int, height: int, width: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, height, width)).astype(np.uint8)
    return images, np.arange(count).astype(np.uint8) % classes


def put(
    folder: Path, *, height: int = 5, width: int = 4, classes: int = 3, names: Any = NAMES, packed: bool = False
) -> Any:
    """Write a set of 40 training and 12 test images, and return their arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    found = (*pictures(40, height, width, classes, 0), *pictures(12, height, width, classes, 1))
    for name, array in zip(names, found, strict=True):
        content = idx(array)
        (folder / f"{name}{'.gz' if packed else ''}").write_bytes(
            gzip.compress(content, mtime=0) if packed else content
        )
    return found


def images_of(folder: Path, **fields: Any) -> Images:
    return Images.model_validate({"dataset": "mine"} | fields).with_info(folder)


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


SQUARES = np.zeros((40, 5, 4), np.uint8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (NAMES[0], b"", "the file: found an empty file; expected an IDX file"),
        (NAMES[0], b"\x00\x00", "found the first bytes 00 00"),
        (NAMES[0], b"PK\x03\x04 and more", r"found the first bytes 50 4B 03 04 \(hexadecimal\)"),
        (NAMES[0], b"\x00\x00\x07\x01\x00\x00\x00\x01\x00", "found the first bytes 00 00 07 01"),
        (NAMES[0], b"\x00\x00\x08\x00\x01", "found the first bytes 00 00 08 00"),
        (NAMES[0], b"\x00\x00\x08\x03\x00\x00", "its header: found the end of the file; expected the sizes of 3 dim"),
        (NAMES[0], idx(SQUARES, (41, 5, 4)), "found 41 x 5 x 4 numbers, 820 bytes; expected the 800 bytes"),
        (NAMES[0], idx(SQUARES, (39, 5, 4)), "found 39 x 5 x 4 numbers, 780 bytes; expected the 800 bytes"),
        (NAMES[0], idx(SQUARES, (2**32 - 1,) * 3), "79,228,162,458,924,105,385,300,197,375 bytes; expected at most"),
        (NAMES[0], idx(SQUARES, (40, 20)), r"an array of uint8 of shape \(40, 20\); expected images of one byte per"),
        (NAMES[0], idx(np.zeros((40, 5, 4), np.float32)), r"an array of float32 of shape \(40, 5, 4\)"),
        (NAMES[0], idx(np.zeros((0, 5, 4), np.uint8)), r"an array of uint8 of shape \(0, 5, 4\)"),
        (NAMES[0], idx(np.zeros((40, 5, 4, 3), np.uint8)), r"shape \(40, 5, 4, 3\); expected images of one byte"),
        (NAMES[1], idx(np.zeros(39, np.uint8)), "found 39 labels; expected 40, one for each image"),
        (NAMES[1], idx(np.zeros(40, np.float64)), "an array of float64 of shape"),
        (NAMES[1], idx(np.full(40, 7, np.uint8)), "found the single class 7; expected at least two classes"),
        (NAMES[2], idx(np.zeros((12, 4, 4), np.uint8)), "found images of 4 x 4 pixels; expected 5 x 4 pixels"),
        (NAMES[3], idx(np.full(12, 9, np.uint8)), "its labels: found '9'; expected one of the 3 classes"),
        (NAMES[0], packed_idx(SQUARES)[:20], "found a damaged gzip archive"),
        (NAMES[0], packed_idx(SQUARES)[:-1], "found a damaged gzip archive"),
        (NAMES[0], b"\x1f\x8bnonsense", "found a damaged gzip archive"),
        (NAMES[0], packed_idx(SQUARES, (41, 5, 4)), "41 x 5 x 4 numbers, 820 bytes, but 800 bytes follow"),
        (NAMES[0], packed_idx(SQUARES, (39, 5, 4)), "39 x 5 x 4 numbers, 780 bytes, but more bytes follow"),
        (NAMES[0], packed_idx(SQUARES, (2**20, 28, 28)), "which an archive of .* bytes cannot hold"),
    ],
)  # fmt: skip
def test_what_a_file_has_wrong_is_named_at_submit(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    put(tmp_path / "mine")
    (tmp_path / "mine" / name).write_bytes(content)
    with pytest.raises(DataWrong, match=rf"^mine/{name}, .*{message}"):
        images_of(tmp_path)
    with pytest.raises(SpecError) as refused:
        parse_sweep(sweep_document(task={"name": "images", "dataset": "mine"}), tmp_path)
    assert refused.value.errors[0].field == "task.dataset"


def test_an_archive_of_another_kind_is_no_idx_file(tmp_path: Path) -> None:
    put(tmp_path / "mine")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train-images-idx3-ubyte", idx(SQUARES))
    (tmp_path / "mine" / NAMES[0]).write_bytes(packed.getvalue())
    with pytest.raises(DataWrong, match="expected an IDX file"):
        images_of(tmp_path)


def test_an_archive_that_unpacks_to_far_more_takes_no_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb") as stream:
        stream.write(idx(SQUARES))
        for _ in range(300):
            stream.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataWrong, match="but more bytes follow"):
        read_idx(bomb, "bomb.gz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert MAX_BYTES < 2**33


@settings(max_examples=60, deadline=None)
@given(
    array=st.sampled_from(list(CODES)).flatmap(
        lambda kind: arrays.arrays(
            kind,
            arrays.array_shapes(max_dims=4, max_side=6),
            elements={"allow_nan": False} if kind.kind == "f" else None,
        )
    ),
    packed=st.booleans(),
)
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, packed: bool) -> None:
    path = tmp_path_factory.mktemp("idx") / "array"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    found = read_idx(path, "array")
    assert found.dtype == array.dtype.newbyteorder(">") or found.dtype.itemsize == 1
    np.testing.assert_array_equal(found, array)


def body_of(data: bytes) -> bytes | None:
    """The numbers in a file whose header fits them, by the description of the format; None for any other bytes."""
    count = data[3] if len(data) > 3 and data[:2] == b"\0\0" and data[2] in TYPES else 0
    if not count or len(data) < 4 + 4 * count:
        return None
    sizes = struct.unpack_from(f">{count}I", data, 4)
    body = data[4 + 4 * count :]
    return body if math.prod(sizes) * np.dtype(TYPES[data[2]]).itemsize == len(body) else None


def vector(body: bytes) -> bytes:
    return idx(np.frombuffer(body, np.uint8))


@settings(max_examples=300, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=60),
        st.binary(max_size=40).map(lambda rest: b"\0\0\x08\x01\0\0\0" + rest),
        st.binary(max_size=40).map(vector),
        st.tuples(st.binary(max_size=9).map(vector), st.integers(0, 8), st.binary(min_size=1, max_size=2)).map(
            lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] + 1 :]
        ),
    ),
    packed=st.booleans(),
)
@example(data=vector(b"ab"), packed=False)
@example(data=vector(b"ab") + b"c", packed=True)
def test_any_bytes_are_read_if_they_are_an_idx_file_and_else_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
    body = body_of(data)
    if body is None:
        with pytest.raises(DataWrong, match=r"^any, "):
            read_idx(path, "any")
    else:
        assert read_idx(path, "any").tobytes() == body


@pytest.mark.parametrize("shape", [(1,) * 65, (1,) * 255, (0, *(2**32 - 1,) * 3), (2**32 - 1, 0, 2**32 - 1)])
def test_dimensions_that_no_array_can_have_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "any").write_bytes(idx(np.zeros(0 if 0 in shape else 1, np.uint8), shape))
    with pytest.raises(DataWrong, match="any, its header: found "):
        read_idx(tmp_path / "any", "any")


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
