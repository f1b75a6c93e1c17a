"""The UCR archive of time series (Dau et al. 2019) with its official split, and sets of the UEA archive beside it."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, FiniteFloat

from workers.errors import DataMissing
from workers.tasks.data_folder import folder_of
from workers.tasks.dataset_info import Facts, FileTask
from workers.tasks.readers import ts, tsv
from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.labels import class_numbers, of_all, ordered
from workers.tasks.readers.series import Missing, Series, complete, padded, standardised
from workers.tasks.splits import stratified
from workers.tasks.task import Loss, MetricDirections, Sequences, Split, scored

ARCHIVE = "https://timeseriesclassification.com/dataset.php"
READERS = {".ts": ts.read_ts, ".tsv": tsv.read_tsv}
UcrFile = Literal["TRAIN", "TEST"]


class Ucr(FileTask):
    """Series cut into steps of ``width`` values; validation is a part of the official training set.

    ``DATASET_TRAIN`` and ``DATASET_TEST``, ``.ts`` or ``.tsv``, lie in the data directory's folder ``ucr``, or in a
    folder DATASET of it. The last step of a series that ``width`` does not divide is filled up with zeros.
    """

    loss: ClassVar[Loss] = "cross_entropy"
    metrics: ClassVar[MetricDirections] = scored("loss", "accuracy")
    summary: ClassVar[str] = "A set of the UCR archive by name, read from the data directory; the official split."
    source_field: ClassVar[str] = "dataset"

    name: Literal["ucr"] = "ucr"
    dataset: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100, description="the archive's name of it, e.g. ArrowHead"
    )
    width: int | None = Field(
        default=None, ge=1, le=100_000,
        description="values per step; default: the largest divisor of the length up to its square root",
    )  # fmt: skip
    normalize: bool = Field(default=False, description="scale each series to mean 0, deviation 1; most already are")
    missing: Missing = Field(default="refuse", description="what to do with missing values")
    validation: FiniteFloat = Field(default=0.2, gt=0, le=0.5, description="part of every class held out of training")
    split_seed: int = Field(default=0, ge=0, le=2**31 - 1, description="which series are held out")

    @property
    def step_width(self) -> int:
        """Values of one dimension that a step reads (the paper's rule, by its examples: section 4.2)."""
        if self.width is not None:
            return self.width
        length = self.known.length
        return next(width for width in range(isqrt(length), 0, -1) if length % width == 0)

    @property
    def sequence_length(self) -> int:
        return -(-self.known.length // self.step_width)

    @property
    def input_size(self) -> int:
        return self.step_width * self.known.features

    def uncut(self, inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return inputs.reshape(-1, self.known.features)

    def read_facts(self, data_dir: Path | None) -> Facts:
        paths = [_path(self.dataset, part, data_dir) for part in ("TRAIN", "TEST")]
        if all(path.suffix == ".ts" for path in paths):
            header = ts.read_header(paths[0], _shown(paths[0]))
            if header.length and header.dimensions and header.classes:
                return Facts(length=header.length, features=header.dimensions, classes=ordered(header.classes))
        train, test = (_read(path) for path in paths)
        classes = ordered(train.classes or of_all(train))
        class_numbers(test, classes, masked=False)
        return Facts(length=max(train.length, test.length), features=train.features, classes=classes)

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        train, held = self._halves(data_dir)
        return _part(train, ~held)

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        if split == "test":
            return self._sequences("TEST", data_dir)
        train, held = self._halves(data_dir)
        return _part(train, held)

    def _halves(self, data_dir: Path | None) -> tuple[Sequences, npt.NDArray[np.bool_]]:
        """The official training set, and which of it validates."""
        train = self._sequences("TRAIN", data_dir)
        held = stratified(train.targets.astype(np.int64), self.validation, self.split_seed)
        if not held.any():
            file = _shown(_path(self.dataset, "TRAIN", data_dir))
            raise DataWrong(file, "all of it", "one series of every class", "two of some class, to hold one out")
        return train, held

    def _sequences(self, part: UcrFile, data_dir: Path | None) -> Sequences:
        task = self.described(data_dir)
        facts, width = task.known, task.step_width
        series = complete(_series(self.dataset, part, data_dir), self.missing)
        if series.features != facts.features or series.length > facts.length:
            found = f"series of up to {series.length} steps of {series.features}"
            expected = f"at most {facts.length} steps of {facts.features}, as task.facts says"
            raise DataWrong(series.file, "all of it", found, expected)
        values = [standardised(one) for one in series.values] if self.normalize else series.values
        inputs, lengths = padded([_steps(one, width) for one in values], task.sequence_length)
        targets = np.concatenate(class_numbers(series, facts.classes or [], masked=False))
        return Sequences(inputs, targets, lengths)


def _steps(values: npt.NDArray[np.float64], width: int) -> npt.NDArray[np.float64]:
    """(T, features) -> (T / width rounded up, width * features), the last one filled up with zeros."""
    steps = -(-len(values) // width)
    filled = np.zeros((steps * width, values.shape[1]))
    filled[: len(values)] = values
    return filled.reshape(steps, -1)


def _part(sequences: Sequences, which: npt.NDArray[np.bool_]) -> Sequences:
    lengths = None if sequences.lengths is None else sequences.lengths[which]
    return Sequences(sequences.inputs[which], sequences.targets[which], lengths)


def _path(dataset: str, part: UcrFile, data_dir: Path | None) -> Path:
    folder = folder_of(data_dir) / "ucr"
    name = f"{dataset}_{part}"
    for place in (folder / dataset, folder):
        for suffix in READERS:
            if (place / f"{name}{suffix}").is_file():
                return place / f"{name}{suffix}"
    raise DataMissing(
        f"neither {name}.ts nor {name}.tsv is in {folder / dataset} or {folder}. Put {dataset}_TRAIN and "
        f"{dataset}_TEST there (the archive: {ARCHIVE}), or set SPECTRAL_DATA_DIR to the folder that holds ucr/."
    )


def _shown(path: Path) -> str:
    return path.name


def _read(path: Path) -> Series:
    return READERS[path.suffix](path, _shown(path))


@lru_cache(maxsize=2)
def _series(dataset: str, part: UcrFile, data_dir: Path | None) -> Series:
    return _read(_path(dataset, part, data_dir))
