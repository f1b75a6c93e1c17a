"""Classification of time series from the UCR archive (Dau et al. 2019) or the UEA archive (Bagnall et al. 2018)."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from workers.errors import DataMissing
from workers.tasks.data_folder import folder_of, version_of
from workers.tasks.dataset_info import DatasetInfo, DatasetTask
from workers.tasks.readers import ts, tsv
from workers.tasks.readers.checks import aligned, check_digest, check_extent, checked
from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.series import Missing, Series, digest, padded, standardised
from workers.tasks.readers.targets import class_numbers, classes_of
from workers.tasks.splits import stratified
from workers.tasks.task import Loss, MetricDirections, SampleView, Sequences, Split, scored

ARCHIVE = "https://timeseriesclassification.com/dataset.php"
READERS = {".ts": ts.read_ts, ".tsv": tsv.read_tsv}
UcrFile = Literal["TRAIN", "TEST"]
OTHERWISE = "use the task own_data with kind regression"
UCR_FILES: tuple[UcrFile, UcrFile] = ("TRAIN", "TEST")


class Ucr(DatasetTask):
    """A data set of the UCR or UEA archive by its name: say which class a time series belongs to.

    Inputs are the series, cut into steps of ``width`` values of each dimension; zeros fill up the last step if
    ``width`` does not divide the length. The target is one class. The loss is the cross-entropy in nats after the last
    step; metrics are loss and accuracy. The split is the official one, and a part of every class of the training set
    validates. The baseline is that of equally frequent classes, ln of their number.

    The files ``DATASET_TRAIN`` and ``DATASET_TEST``, ``.ts`` or ``.tsv``, are read from the folder ``ucr`` of the data
    directory, or from a folder ``DATASET`` in it; else from the data directory itself or a folder ``DATASET`` in it.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "accuracy")
    summary: ClassVar[str] = "A set of the UCR archive by name, read from the data directory; the official split."
    dataset_field: ClassVar[str] = "dataset"

    name: Literal["ucr"] = Field(default="ucr", description="name of the task")
    dataset: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        max_length=100,
        description="name of the data set in the archive, e.g. ArrowHead",
    )
    width: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="values per step; if omitted, the largest divisor of the length up to its square root",
    )
    normalize: bool = Field(
        default=False,
        description="scale each series to mean 0 and standard deviation 1; most series of the archive already are",
    )
    missing: Missing = Field(default="refuse", description="whether missing values are refused or interpolated")
    validation: FiniteFloat = Field(
        default=0.2, gt=0, le=0.5, description="fraction of every class of the training set that validates"
    )
    split_seed: int = Field(default=0, ge=0, le=2**31 - 1, description="seed of the choice of series that validate")

    @property
    def step_width(self) -> int:
        """Values of one dimension in a step: ``width``, or the largest divisor of the length up to its square root."""
        if self.width is not None:
            return self.width
        length = self.info.length
        return next(width for width in range(isqrt(length), 0, -1) if length % width == 0)

    @property
    def sequence_length(self) -> int:
        """Steps of the longest series after it has been cut into steps of ``step_width`` values."""
        return -(-self.info.length // self.step_width)

    @property
    def input_size(self) -> int:
        """Values per step, over all dimensions."""
        return self.step_width * self.info.features

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the values over time as they were before they were cut into steps, and the labels of the classes."""
        info = self.with_info(data_dir).info
        return SampleView(inputs.reshape(-1, info.features), class_names=info.classes)

    def read_info(self, data_dir: Path | None) -> DatasetInfo:
        """Read both files and return their sizes."""
        train, test = (self._series(part, data_dir) for part in UCR_FILES)
        test = aligned(train, test)
        classes = classes_of(train, OTHERWISE)
        class_numbers(test, classes, masked=False)
        return DatasetInfo(
            length=max(train.length, test.length),
            features=train.features,
            classes=classes,
            digest=digest([train, test]),
        )

    def read_series(self, data_dir: Path | None) -> list[Series]:
        """Return the series of both files as they are there, with missing values."""
        return [self._read_raw(part, data_dir) for part in UCR_FILES]

    def check_data(self, data_dir: Path | None) -> int:
        """Draw the series that validate, and return how many are left to train on."""
        held = self._halves(data_dir)[1]
        return int((~held).sum())

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return the official training set without the series that validate."""
        train, held = self._halves(data_dir)
        return train.subset(~held)

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return the part of the training set that validates, or the official test set."""
        if split == "test":
            return self._sequences("TEST", data_dir)
        train, held = self._halves(data_dir)
        return train.subset(held)

    def _halves(self, data_dir: Path | None) -> tuple[Sequences, npt.NDArray[np.bool_]]:
        """Return the official training set and a mask of the series in it that validate."""
        train = self._sequences("TRAIN", data_dir)
        held = stratified(train.targets.astype(np.int64), self.validation, self.split_seed)
        if not held.any():
            file = _path(self.dataset, "TRAIN", data_dir).name
            raise DataWrong(
                file, "its series", Phrase("one series of each class"), "two of some class, so that one can validate"
            )
        return train, held

    def _series(self, part: UcrFile, data_dir: Path | None) -> Series:
        """Read a file, and fill or refuse its gaps. Raises DataMissing or DataWrong."""
        found = self._read_raw(part, data_dir)
        return checked(found, kind="classification", every_step=False, missing=self.missing, otherwise=OTHERWISE)

    def _read_raw(self, part: UcrFile, data_dir: Path | None) -> Series:
        path = _path(self.dataset, part, data_dir)
        return _read(path, version_of(path))

    def _sequences(self, part: UcrFile, data_dir: Path | None) -> Sequences:
        task = self.with_info(data_dir)
        info, width = task.info, task.step_width
        files = {one: self._series(one, data_dir) for one in UCR_FILES}
        check_digest(files.values(), info.digest)
        series = files[part]
        check_extent(series, info.length, info.features, "values")
        values = [standardised(one) for one in series.values] if self.normalize else series.values
        inputs, lengths = padded([_steps(one, width) for one in values], task.sequence_length)
        targets = np.concatenate(class_numbers(series, info.classes or [], masked=False))
        return Sequences(inputs, targets, lengths)


def _steps(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """Cut (T, features) into (T / width rounded up, width * features), with zeros at the end of the last step."""
    steps = -(-len(values) // width)
    filled = np.zeros((steps * width, values.shape[1]))
    filled[: len(values)] = values
    return filled.reshape(steps, -1)


def _path(dataset: str, part: UcrFile, data_dir: Path | None) -> Path:
    folder = folder_of(data_dir) / "ucr"
    name = f"{dataset}_{part}"
    for place in (folder / dataset, folder, folder.parent / dataset, folder.parent):
        for suffix in READERS:
            if (place / f"{name}{suffix}").is_file():
                return place / f"{name}{suffix}"
    raise DataMissing(
        f"neither {name}.ts nor {name}.tsv is in {folder / dataset} or {folder}. Put {dataset}_TRAIN and "
        f"{dataset}_TEST there (the archive: {ARCHIVE}), or set SPECTRAL_DATA_DIR to the folder that contains ucr/."
    )


@lru_cache(maxsize=2)
def _read(path: Path, version: tuple[int, int]) -> Series:
    """Read a file; ``version`` (``version_of``) keeps the cache up to date."""
    return READERS[path.suffix](path, path.name)
