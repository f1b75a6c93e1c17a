"""A set of images with labels in IDX files, such as Fashion-MNIST, read as a sequence of pixels, chunks or rows."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, FiniteFloat, model_validator
from pydantic_core import PydanticCustomError

from workers.tasks import idx_files
from workers.tasks.data_folder import file_in, inside
from workers.tasks.data_statistics import DataStatistics, Sets, measure
from workers.tasks.dataset_info import DatasetInfo, DatasetTask
from workers.tasks.image_sequences import PixelOrder, divisors, to_image, to_steps
from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.series import Series
from workers.tasks.splits import stratified
from workers.tasks.task import Loss, MetricDirections, SampleView, Sequences, Split, scored

Images8 = npt.NDArray[np.uint8]
Part = Literal["train", "test"]


class Images(DatasetTask):
    """A set of images in IDX files by its name, such as Fashion-MNIST: say which class an image belongs to.

    Inputs (steps, pixels / steps) are the pixels, row by row, scaled to [0, 1]: one pixel per step by default. With
    ``order`` columns they are read column by column, as the images of EMNIST are stored; with permuted, one fixed
    permutation is applied to the pixels of all images. The target is one class. The loss is the cross-entropy in nats
    after the last step; metrics are loss and accuracy. The split is the official one, and a part of every class of the
    training set validates. The baseline is the entropy of the classes of the training set.

    The four files are read from the folder ``dataset`` of the data directory, or from a folder ``raw`` in it, packed
    with gzip or not. Their names are those of MNIST, also with a beginning: ``emnist-letters-train-images-idx3-ubyte``.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "accuracy")
    summary: ClassVar[str] = "Images in IDX files by name, such as Fashion-MNIST, as a sequence; the official split."
    dataset_field: ClassVar[str] = "dataset"

    name: Literal["images"] = Field(default="images", description="name of the task")
    dataset: Annotated[str, AfterValidator(inside)] = Field(
        min_length=1,
        max_length=1_000,
        description="folder of the set in the data directory, e.g. fashion-mnist; of several sets in one folder the "
        "folder and the beginning of the names, e.g. emnist/emnist-letters",
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="steps T of a sequence, a divisor of the number of pixels; if omitted, one step per pixel",
    )
    order: PixelOrder = Field(
        default="rows",
        description="order of the pixels: row by row, column by column, or permuted by one fixed random order for "
        "every image",
    )
    validation: FiniteFloat = Field(
        default=0.1, gt=0, le=0.5, description="fraction of every class of the training set that validates"
    )
    split_seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of the choice of images that validate")

    @model_validator(mode="after")
    def _divides(self) -> Images:
        if self.dataset in self.facts and (expected := self._indivisible(self.info)):
            message = "{pixels} pixels do not divide into {steps} steps"
            pixels = self.info.length * self.info.features
            context = {"name": "steps", "pixels": pixels, "steps": self.steps, "expected": expected}
            raise PydanticCustomError("steps_divide", message, context)
        return self

    def _indivisible(self, info: DatasetInfo) -> str:
        """Return the steps into which images of this size can be cut, in words; "" if they can be cut as asked."""
        pixels = info.length * info.features
        if self.steps is None or pixels % self.steps == 0:
            return ""
        return f"one of {', '.join(map(str, divisors(pixels)))}"

    @property
    def sequence_length(self) -> int:
        """The field ``steps``, or the number of pixels."""
        return self.steps or self.info.length * self.info.features

    @property
    def input_size(self) -> int:
        """Pixels per step."""
        return self.info.length * self.info.features // self.sequence_length

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the steps over time, the labels of the classes, and the image, its pixels in their original order."""
        info = self.with_info(data_dir).info
        image = to_image(inputs, info.length, info.features, self.order)
        return SampleView(inputs, class_names=info.classes, image=image)

    def read_info(self, data_dir: Path | None) -> DatasetInfo:
        """Read all files and return the sizes: ``length`` rows of ``features`` pixels."""
        images, labels = _read(self.dataset, "train", data_dir)
        tests, test_labels = _read(self.dataset, "test", data_dir)
        names = idx_files.files_of(self.dataset, data_dir)
        if tests.shape[1:] != images.shape[1:]:
            height, width = images.shape[1:]
            found = Phrase(f"images of {tests.shape[1]} x {tests.shape[2]} pixels")
            expected = f"{height} x {width} pixels, as in {names['train', 'images']}"
            raise DataWrong(names["test", "images"], "the file", found, expected)
        classes, counts = np.unique(labels, return_counts=True)
        if len(classes) < 2:
            found = Phrase(f"the single class {classes[0]}")
            raise DataWrong(names["train", "labels"], "the file", found, "at least two classes to tell apart")
        if (unknown := np.setdiff1d(test_labels, classes)).size:
            expected = f"one of the {len(classes)} classes of {names['train', 'labels']}"
            raise DataWrong(names["test", "labels"], "its labels", str(unknown[0]), expected)
        shares = counts / counts.sum()
        info = DatasetInfo(
            length=images.shape[1],
            features=images.shape[2],
            classes=[str(label) for label in classes],
            baseline=float(-(shares * np.log(shares)).sum()),
            digest=_digest(*_files(self.dataset, data_dir)),
        )
        if expected := self._indivisible(info):
            found = Phrase(f"{info.length} x {info.features} pixels, which do not divide into {self.steps} steps")
            raise DataWrong(names["train", "images"], "its images", found, f"task.steps to be {expected}")
        return info

    def read_series(self, data_dir: Path | None) -> list[Series]:
        """Return none: the files hold images."""
        return []

    def read_statistics(self, data_dir: Path | None) -> DataStatistics:
        """Measure the set, with every image as a single step and every pixel as a feature."""
        images, labels, held = self._halves(data_dir)
        tests, test_labels = self._checked("test", data_dir)
        parts = ((images[~held], labels[~held]), (images[held], labels[held]), (tests, test_labels))
        # pixels stay bytes, which take a quarter of the memory
        sets = Sets(*(Sequences(some.reshape(len(some), 1, -1), self._classes(own)) for some, own in parts))  # type: ignore[arg-type]
        height, width = images.shape[1:]
        pixels = [
            f"the pixel in row {row + 1}, column {column + 1}" for row in range(height) for column in range(width)
        ]
        return measure(sets, self.info.classes, pixels)

    def check_data(self, data_dir: Path | None) -> int:
        """Draw the images that validate, and return how many are left to train on."""
        held = self._halves(data_dir)[2]
        return int((~held).sum())

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return the official training set without the images that validate."""
        images, labels, held = self._halves(data_dir)
        return self._sequences(images[~held], labels[~held], data_dir)

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return the part of the training set that validates, or the official test set."""
        if split == "test":
            return self._sequences(*self._checked("test", data_dir), data_dir)
        images, labels, held = self._halves(data_dir)
        return self._sequences(images[held], labels[held], data_dir)

    def _halves(self, data_dir: Path | None) -> tuple[Images8, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return the official training set, and a mask of the images in it that validate."""
        images, labels = self._checked("train", data_dir)
        held = stratified(labels, self.validation, self.split_seed)
        if not held.any():
            expected = "two of some class, so that one can validate"
            raise DataWrong(self.dataset, "its images", Phrase("one image of each class"), expected)
        return images, labels, held

    def _checked(self, part: Part, data_dir: Path | None) -> tuple[Images8, npt.NDArray[np.int64]]:
        """Return what ``_read`` does. Raises DataWrong too if the set is not that of the digest in ``facts``."""
        expected = self.facts[self.dataset].digest if self.dataset in self.facts else None
        if expected is not None and _digest(*_files(self.dataset, data_dir)) != expected:
            names = ", ".join(idx_files.files_of(self.dataset, data_dir).values())
            found = Phrase("other images or labels than when the sweep was submitted")
            raise DataWrong(names, "the data", found, "the same; put the old files back, or submit the sweep again")
        return _read(self.dataset, part, data_dir)

    def _sequences(self, images: Images8, labels: npt.NDArray[np.int64], data_dir: Path | None) -> Sequences:
        task = self.with_info(data_dir)
        info = task.info
        if images.shape[1:] != (info.length, info.features):
            found = Phrase(f"{images.shape[1]} x {images.shape[2]} pixels")
            expected = f"{info.length} x {info.features}, as task.facts says; or correct its entry there"
            raise DataWrong(self.dataset, "its images", found, expected)
        return Sequences(to_steps(images, task.sequence_length, self.order), task._classes(labels))

    def _classes(self, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the class numbers of labels. Raises DataWrong if a label is none of the classes."""
        number = {label: i for i, label in enumerate(self.info.classes or [])}
        present, inverse = np.unique(labels, return_inverse=True)
        names = [str(label) for label in present]
        if unknown := [name for name in names if name not in number]:
            expected = "one of the classes in task.facts; or correct its entry there"
            raise DataWrong(self.dataset, "its labels", unknown[0], expected)
        return np.array([number[name] for name in names], np.int64)[inverse]


def _read(dataset: str, part: Part, data_dir: Path | None) -> tuple[Images8, npt.NDArray[np.int64]]:
    """Return the images (N, height, width) and the labels (N,) of one part of a set.

    Raises:
        DataMissing: If a file is missing.
        DataWrong: If a file is not what it has to be.
    """
    train, test = _files(dataset, data_dir)
    return _cached(train if part == "train" else test)


class _File(NamedTuple):
    """A file by its name in messages, its path, and what keeps caches up to date: the time of its change, its bytes."""

    name: str
    path: Path
    changed: int
    size: int


_Pair = tuple[_File, _File]
"""Images and their labels."""


def _files(dataset: str, data_dir: Path | None) -> tuple[_Pair, _Pair]:
    """Return the files that train and those that test. Raises DataMissing if one is missing."""
    found = []
    for name in idx_files.files_of(dataset, data_dir).values():
        path = file_in(data_dir, name)
        status = path.stat()
        found.append(_File(name, path, status.st_mtime_ns, status.st_size))
    images, labels, tests, test_labels = found
    return (images, labels), (tests, test_labels)


@lru_cache(maxsize=2)
def _cached(pair: _Pair) -> tuple[Images8, npt.NDArray[np.int64]]:
    images, labels = pair
    found = idx_files.images_in(images.path, images.name)
    return found, idx_files.labels_in(labels.path, labels.name, len(found))


@lru_cache(maxsize=8)
def _digest(train: _Pair, test: _Pair) -> str:
    """Return a digest of all images and labels of a set, 32 hexadecimal digits, however its files are packed."""
    found = hashlib.blake2b(digest_size=16)
    for array in (*_cached(train), *_cached(test)):
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()
