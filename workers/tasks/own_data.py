"""Series of the user's own, from a file of the data directory."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, FiniteFloat, field_validator, model_validator
from pydantic_core import PydanticCustomError

from workers.tasks.data_folder import file_in, inside, version_of
from workers.tasks.dataset_info import DatasetInfo, DatasetTask
from workers.tasks.readers.checks import REGRESSION, aligned, check_digest, check_extent, checked
from workers.tasks.readers.errors import DataWrong, Phrase
from workers.tasks.readers.npz import read_npz
from workers.tasks.readers.series import Kind, Missing, Series, digest, padded, standardised
from workers.tasks.readers.table_layout import Columns, read_table
from workers.tasks.readers.targets import class_numbers, classes_of, numbers
from workers.tasks.readers.ts import read_ts
from workers.tasks.splits import drawn, stratified
from workers.tasks.task import MASKED, Loss, MetricDirections, Readout, SampleView, Sequences, Split, decided_by, scored

SUFFIXES = (".csv", ".npz", ".parquet", ".ts")
OwnFile = Annotated[str, AfterValidator(inside), Field(min_length=1, max_length=1_000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
SubsetName = Literal["train", "validation", "test"]


class OwnData(DatasetTask):
    """Series of the user's own: say which class a series belongs to, or predict numbers for it.

    Inputs (T, features) are the values of a series, which may differ in length. The target belongs to the whole series,
    or to every step with ``every_step``. For classification the loss is the cross-entropy in nats, the metrics are loss
    and accuracy, and the baseline is the entropy of the classes. For regression the loss is the mean squared error, the
    metrics are loss and ``error``, and the baseline is the variance of the targets. Validation and test sets are drawn
    from ``file`` by ``split_seed``, or are read from separate files. If each series has one label, the same fraction of
    every class is drawn; if each step has one, every label stays in at least one series of the training set.
    docs/own-data.md shows the formats.
    """

    loss: ClassVar[Loss] = decided_by(
        lambda task: "cross_entropy" if task.kind == "classification" else "mse", listed="cross_entropy"
    )
    metrics: ClassVar[MetricDirections] = decided_by(
        lambda task: scored("loss", "accuracy" if task.kind == "classification" else "error"),
        listed=scored("loss", "accuracy", "error"),
    )
    summary: ClassVar[str] = "Series of your own, from csv, parquet, npz or ts: classify them, or predict numbers."
    dataset_field: ClassVar[str] = "file"
    info_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "facts",
            "kind",
            "every_step",
            "targets",
            "inputs",
            "series",
            "step",
            "uneven",
            "missing",
            "validation_file",
            "test_file",
        }
    )

    name: Literal["own_data"] = Field(default="own_data", description="name of the task")
    file: OwnFile = Field(
        description=f"path of the file, relative to the data directory; its name ends in {', '.join(SUFFIXES)}"
    )
    validation_file: OwnFile | None = Field(
        default=None, description="file that validates; if omitted, a part of the series in file"
    )
    test_file: OwnFile | None = Field(
        default=None, description="file that tests; if omitted, a part of the series in file"
    )
    kind: Kind = Field(
        default="classification", description="whether a target is the label of a class or consists of numbers"
    )
    every_step: bool = Field(default=False, description="whether every step has a target, instead of each series")
    targets: list[Name] = Field(
        default=["target"], min_length=1, max_length=1_000, description="columns of a table that contain the targets"
    )
    inputs: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=100_000,
        description="columns of a table that the net reads; if omitted, all others",
    )
    series: Name | None = Field(
        default=None,
        description='column of a table with the name of the series that a row belongs to; if omitted, "series" if the '
        "table has such a column, else each row is a series",
    )
    step: Name | None = Field(
        default=None,
        description='column of a table with steps or times, whose order is checked; if omitted, "step" if the table '
        "has such a column",
    )
    uneven: bool = Field(default=False, description="whether the times between steps may differ")
    missing: Missing = Field(default="refuse", description="whether missing values are refused or interpolated")
    normalize: bool = Field(
        default=False, description="scale each feature of each series to mean 0 and standard deviation 1"
    )
    validation: FiniteFloat = Field(
        default=0.15, gt=0, le=0.4, description="fraction of the series that validates, without a validation_file"
    )
    test: FiniteFloat = Field(
        default=0.15, gt=0, le=0.4, description="fraction of the series that tests, without a test_file"
    )
    split_seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="seed of the choice of series that validate and test"
    )

    @field_validator("file", "validation_file", "test_file")
    @classmethod
    def _readable(cls, name: str | None) -> str | None:
        if name is not None and not name.endswith(SUFFIXES):
            expected = {"expected": f"a name that ends in {', '.join(SUFFIXES)}"}
            raise PydanticCustomError("suffix", "has a format that cannot be read", expected)
        return name

    @field_validator("inputs", "targets")
    @classmethod
    def _once(cls, names: list[str] | None) -> list[str] | None:
        if names is not None and len(set(names)) < len(names):
            raise PydanticCustomError("twice", "has a column twice", {"expected": "each column once"})
        return names

    @model_validator(mode="after")
    def _one_label(self) -> OwnData:
        if self.kind == "classification" and len(self.targets) > 1:
            context = {"name": "targets", "expected": "one column, or kind regression"}
            raise PydanticCustomError(
                "wrong", "has more than one column, but a classification has one column of labels", context
            )
        return self

    @model_validator(mode="after")
    def _different_files(self) -> OwnData:
        for name, others in (("validation_file", [self.file]), ("test_file", [self.file, self.validation_file])):
            given = getattr(self, name)
            if given is not None and PurePosixPath(given) in (PurePosixPath(other) for other in others if other):
                context = {"name": name, "expected": "a file with other series; or leave it out, to draw from file"}
                raise PydanticCustomError("wrong", "is a file that the task already trains or validates on", context)
        return self

    @property
    def readout(self) -> Readout:
        """``every`` with ``every_step``, else ``last``."""
        return "every" if self.every_step else "last"

    @property
    def sequence_length(self) -> int:
        """Steps of the longest series."""
        return self.info.length

    @property
    def input_size(self) -> int:
        """Values per step."""
        return self.info.features

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the steps over time, the names of their columns if ``inputs`` lists them, and the labels."""
        info = self.with_info(data_dir).info
        listed = self.inputs is not None and len(self.inputs) == info.features
        return SampleView(inputs, feature_names=self.inputs if listed else None, class_names=info.classes)

    def read_info(self, data_dir: Path | None) -> DatasetInfo:
        """Read all files and return their sizes."""
        files = list(self._read(data_dir).values())
        sizes = {"length": max(one.length for one in files), "features": files[0].features, "digest": digest(files)}
        return DatasetInfo.model_validate(
            sizes | (self._labels(files) if self.kind == "classification" else self._range(files))
        )

    def _labels(self, files: list[Series]) -> dict[str, Any]:
        classes = classes_of(files[0], REGRESSION)
        parts = [one.ravel() for s in files for one in class_numbers(s, classes, masked=self.every_step)]
        return {"classes": classes, "baseline": _entropy(np.concatenate(parts))}

    def _range(self, files: list[Series]) -> dict[str, Any]:
        found = [np.atleast_2d(one) for s in files for one in numbers(s, masked=self.every_step)]
        targets = np.concatenate(found).astype(np.float64)  # squares of float32 can be too large for float32
        if np.isnan(targets).all(axis=0).any():
            raise DataWrong(files[0].file, "its targets", Phrase("no number"), "a number for each series or step")
        if (np.nanmin(targets, axis=0) == np.nanmax(targets, axis=0)).all():
            everywhere = Phrase(f"{np.nanmin(targets):g} everywhere")
            expected = "numbers that differ, so that there is something to learn"
            raise DataWrong(files[0].file, "its targets", everywhere, expected)
        baseline = float(np.nanmean(np.square(targets - np.nanmean(targets, axis=0))))
        return {"outputs": targets.shape[1], "baseline": baseline}

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        """Return the series of ``file`` that neither validate nor test."""
        return self._sets(data_dir)["train"]

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        """Return the series that validate or test."""
        return self._sets(data_dir)[split]

    def check_data(self, data_dir: Path | None) -> int:
        """Draw the series that validate and test, and return how many are left to train on."""
        return len(self._sets(data_dir)["train"])

    @property
    def _files(self) -> list[str]:
        return list(dict.fromkeys(filter(None, (self.file, self.validation_file, self.test_file))))

    def _sets(self, data_dir: Path | None) -> dict[SubsetName, Sequences]:
        versions = tuple(version_of(file_in(data_dir, name)) for name in self._files)
        return _sets(self.model_dump_json(), data_dir, versions)

    def read_series(self, data_dir: Path | None) -> list[Series]:
        """Return the series of every file as they are there, with missing values."""
        raw = self._read_raw(data_dir)
        return [aligned(raw[self.file], series) for series in raw.values()]

    def _read(self, data_dir: Path | None) -> dict[str, Series]:
        """Read the series of all files, and fill or refuse their gaps. Raises DataMissing or DataWrong."""
        found: dict[str, Series] = {}
        for name, raw in self._read_raw(data_dir).items():
            series = checked(raw, kind=self.kind, every_step=self.every_step, missing=self.missing)
            found[name] = aligned(found[self.file], series) if found else series
        return found

    def _read_raw(self, data_dir: Path | None) -> dict[str, Series]:
        inputs = None if self.inputs is None else tuple(self.inputs)
        columns = Columns(tuple(self.targets), inputs, self.series, self.step, self.uneven, self.every_step)
        paths = {name: file_in(data_dir, name) for name in self._files}
        return {name: _file(path, name, columns, version_of(path)) for name, path in paths.items()}


@lru_cache(maxsize=3)
def _file(path: Path, name: str, columns: Columns, version: tuple[int, int]) -> Series:
    """Read a file in the format that its name says; ``version`` (``version_of``) keeps the cache up to date."""
    if path.suffix == ".npz":
        return read_npz(path, name, every_step=columns.every_step)
    if path.suffix != ".ts":
        return read_table(path, name, columns)
    if columns.every_step:
        expected = "a csv, parquet or npz file, since every_step needs a target for every step"
        raise DataWrong(name, "the format ts", Phrase("one label per series"), expected)
    return read_ts(path, name)


@lru_cache(maxsize=2)
def _sets(document: str, data_dir: Path | None, versions: tuple[tuple[int, int], ...]) -> dict[SubsetName, Sequences]:
    """Read the files once for all splits; ``versions`` (``version_of``) keep the cache up to date."""
    task = OwnData.model_validate_json(document).with_info(data_dir)
    files = task._read(data_dir)
    check_digest(files.values(), task.info.digest)
    sets: dict[SubsetName, Sequences] = {"train": _sequences(task, files[task.file])}
    named: tuple[tuple[SubsetName, str | None], ...] = (("test", task.test_file), ("validation", task.validation_file))
    left = 1.0
    for part, file in named:
        if file is not None:
            sets[part] = _sequences(task, files[file])
            continue
        fraction = task.test if part == "test" else task.validation
        held = _held(task, sets["train"], fraction / left)
        sets[part], sets["train"] = sets["train"].subset(held), sets["train"].subset(~held)
        left -= fraction
    return sets


def _held(task: OwnData, sequences: Sequences, fraction: float) -> npt.NDArray[np.bool_]:
    count, seed = len(sequences), task.split_seed
    if task.loss == "mse":
        held, least = drawn(count, fraction, seed), "two series"
    elif task.every_step:
        held = drawn(count, fraction, seed, sequences.targets.astype(np.int64))
        least = "two series with the same labels"
    else:
        held = stratified(sequences.targets.astype(np.int64), fraction, seed)
        least = "two series of one class"
    if not held.any():
        expected = f"at least {least} to divide between two sets; or set validation_file and test_file"
        raise DataWrong(task.file, "its series", Phrase(f"{len(sequences)} series to draw from"), expected)
    return held


def _sequences(task: OwnData, series: Series) -> Sequences:
    info = task.info
    check_extent(series, info.length, info.features, "features")
    values = [standardised(one) for one in series.values] if task.normalize else series.values
    inputs, lengths = padded(values, info.length)
    return Sequences(inputs, _targets(task, info, series), lengths)


def _targets(task: OwnData, info: DatasetInfo, series: Series) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    if info.classes is not None:
        classes = class_numbers(series, info.classes, masked=task.every_step)
        filled = _filled(classes, info.length, MASKED) if task.every_step else np.stack(classes)
        return filled[..., 0].astype(np.int64)
    found = numbers(series, masked=task.every_step)
    if found[0].shape[-1] != info.outputs:
        expected = f"{info.outputs} of them, as task.facts says; or correct its entry there"
        raise DataWrong(series.file, "its targets", Phrase(f"{found[0].shape[-1]} numbers each"), expected)
    return (_filled(found, info.length, np.nan) if task.every_step else np.stack(found)).astype(np.float32)


def _filled(targets: Iterable[npt.NDArray[np.generic]], length: int, mark: float) -> npt.NDArray[np.float64]:
    """Stack targets (T_i, O) to (N, length, O), with ``mark`` after the end of the shorter ones."""
    ends = [np.pad(one.astype(np.float64), ((0, length - len(one)), (0, 0)), constant_values=mark) for one in targets]
    return np.stack(ends)


def _entropy(classes: npt.NDArray[np.int64]) -> float:
    """Return the entropy of the classes in nats: the loss of always answering with their frequencies."""
    counts = np.bincount(classes[classes != MASKED])
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
