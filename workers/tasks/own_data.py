"""Series of your own, from a file of the data directory."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, FiniteFloat, field_validator, model_validator
from pydantic_core import PydanticCustomError

from workers.tasks.data_folder import file_in, inside
from workers.tasks.dataset_info import Facts, FileTask
from workers.tasks.readers.errors import DataWrong
from workers.tasks.readers.labels import class_numbers, numbers, of_all, ordered
from workers.tasks.readers.npz import read_npz
from workers.tasks.readers.series import Missing, Series, complete, padded, standardised
from workers.tasks.readers.table_layout import Columns, read_table
from workers.tasks.readers.ts import read_ts
from workers.tasks.splits import drawn, stratified
from workers.tasks.task import MASKED, Loss, MetricDirections, Readout, Sequences, Split, decided_by, scored

SUFFIXES = (".csv", ".npz", ".parquet", ".ts")
OwnFile = Annotated[str, AfterValidator(inside), Field(min_length=1, max_length=1_000)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
SubsetName = Literal["train", "validation", "test"]


class OwnData(FileTask):
    """Classification or regression of series, with a target for each series or for each step.

    Series may differ in length. Validation and test sets are drawn from ``file`` by ``split_seed`` (of every class the
    same part), or are files of their own. docs/own-data.md shows the formats.
    """

    loss: ClassVar[Loss] = decided_by(
        lambda task: "cross_entropy" if task.kind == "classification" else "mse", listed="cross_entropy"
    )
    metrics: ClassVar[MetricDirections] = decided_by(
        lambda task: scored("loss", "accuracy" if task.kind == "classification" else "error"),
        listed=scored("loss", "accuracy", "error"),
    )
    summary: ClassVar[str] = "Series of your own, from csv, parquet, npz or ts: classify them, or predict numbers."
    source_field: ClassVar[str] = "file"
    decisive: ClassVar[frozenset[str]] = frozenset({
        "facts", "kind", "every_step", "targets", "inputs", "series", "step", "uneven", "missing", "validation_file",
        "test_file",
    })  # fmt: skip

    name: Literal["own_data"] = "own_data"
    file: OwnFile = Field(description=f"relative to the data directory: {', '.join(SUFFIXES)}")
    validation_file: OwnFile | None = Field(default=None, description="validate on it; default: a part of file")
    test_file: OwnFile | None = Field(default=None, description="test on it; default: a part of file")
    kind: Literal["classification", "regression"] = "classification"
    every_step: bool = Field(default=False, description="a target for every step, not one for a series")
    targets: list[Name] = Field(default=["target"], min_length=1, max_length=1_000, description="columns of a table")
    inputs: list[Name] | None = Field(
        default=None, min_length=1, max_length=100_000, description="columns of a table; default: all others"
    )
    series: Name | None = Field(
        default=None, description='column that names the series of a row; default: "series" if there is one, else each '
        "row is a series",
    )  # fmt: skip
    step: Name | None = Field(
        default=None, description='column of steps or times, checked for order; default: "step" if there is one'
    )
    uneven: bool = Field(default=False, description="steps may be of different sizes")
    missing: Missing = Field(default="refuse", description="what to do with missing values")
    normalize: bool = Field(default=False, description="scale each series to mean 0, deviation 1, by feature")
    validation: FiniteFloat = Field(default=0.15, gt=0, le=0.4, description="part of all series, without a file of it")
    test: FiniteFloat = Field(default=0.15, gt=0, le=0.4, description="part of all series, without a file of it")
    split_seed: int = Field(default=0, ge=0, le=2**31 - 1, description="which series are held out")

    @field_validator("file", "validation_file", "test_file")
    @classmethod
    def _readable(cls, name: str | None) -> str | None:
        if name is not None and not name.endswith(SUFFIXES):
            expected = {"expected": f"a name that ends in {', '.join(SUFFIXES)}"}
            raise PydanticCustomError("suffix", "is in no format that can be read", expected)
        return name

    @model_validator(mode="after")
    def _one_label(self) -> OwnData:
        if self.kind == "classification" and len(self.targets) > 1:
            context = {"name": "targets", "expected": "one column, or kind regression"}
            raise PydanticCustomError("wrong", "a classification has one column of labels", context)
        return self

    @property
    def readout(self) -> Readout:
        return "every" if self.every_step else "last"

    @property
    def features(self) -> list[str] | None:
        return self.inputs if self.inputs is not None and len(self.inputs) == self.known.features else None

    @property
    def sequence_length(self) -> int:
        return self.known.length

    @property
    def input_size(self) -> int:
        return self.known.features

    def read_facts(self, data_dir: Path | None) -> Facts:
        files = [self._read(name, data_dir) for name in self._files]
        for one in files[1:]:
            if one.features != files[0].features:
                expected = f"{files[0].features}, as in {files[0].file}"
                raise DataWrong(one.file, "all of it", f"{one.features} features", expected)
        sizes = {"length": max(one.length for one in files), "features": files[0].features}
        return Facts.model_validate(
            sizes | (self._labels(files) if self.kind == "classification" else self._range(files))
        )

    def _labels(self, files: list[Series]) -> dict[str, Any]:
        classes = ordered(files[0].classes or of_all(files[0]))
        if not classes:
            raise DataWrong(files[0].file, "its targets", "no label", "a label for each series or step")
        parts = [one.ravel() for s in files for one in class_numbers(s, classes, masked=self.every_step)]
        return {"classes": classes, "baseline": _entropy(np.concatenate(parts))}

    def _range(self, files: list[Series]) -> dict[str, Any]:
        targets = np.concatenate([np.atleast_2d(one) for s in files for one in numbers(s, masked=self.every_step)])
        if np.isnan(targets).all(axis=0).any():
            raise DataWrong(files[0].file, "its targets", "no number", "a number for each series or step")
        baseline = float(np.nanmean(np.square(targets - np.nanmean(targets, axis=0))))
        return {"outputs": targets.shape[1], "baseline": baseline}

    def training_data(self, data_dir: Path | None) -> Sequences | None:
        return self._sets(data_dir)["train"]

    def held_out(self, split: Split, data_dir: Path | None) -> Sequences:
        return self._sets(data_dir)[split]

    @property
    def _files(self) -> list[str]:
        return list(dict.fromkeys(filter(None, (self.file, self.validation_file, self.test_file))))

    def _sets(self, data_dir: Path | None) -> dict[SubsetName, Sequences]:
        changed = max(file_in(data_dir, name).stat().st_mtime_ns for name in self._files)
        return _sets(self.model_dump_json(), data_dir, changed)

    def _read(self, name: str, data_dir: Path | None) -> Series:
        """A file's series, without gaps. Raises DataMissing and DataWrong."""
        path = file_in(data_dir, name)
        if path.suffix == ".npz":
            found = read_npz(path, name, every_step=self.every_step)
        elif path.suffix == ".ts":
            found = self._ts(path, name)
        else:
            inputs = None if self.inputs is None else tuple(self.inputs)
            columns = Columns(tuple(self.targets), inputs, self.series, self.step, self.uneven, self.every_step)
            found = read_table(path, name, columns)
        return complete(found, self.missing)

    def _ts(self, path: Path, name: str) -> Series:
        if self.every_step:
            raise DataWrong(name, "the file", "one label for a series", "another format where every step has a target")
        return read_ts(path, name)


@lru_cache(maxsize=2)
def _sets(document: str, data_dir: Path | None, changed: int) -> dict[SubsetName, Sequences]:
    """Read once for all splits; ``changed``: when the files were, so that new ones are read anew."""
    task = OwnData.model_validate_json(document).described(data_dir)
    sets: dict[SubsetName, Sequences] = {"train": _sequences(task, task._read(task.file, data_dir))}
    named: tuple[tuple[SubsetName, str | None], ...] = (("test", task.test_file), ("validation", task.validation_file))
    left = 1.0
    for part, file in named:
        if file is not None:
            sets[part] = _sequences(task, task._read(file, data_dir))
            continue
        fraction = task.test if part == "test" else task.validation
        held = _held(task, sets["train"], fraction / left)
        sets[part], sets["train"] = _those(sets["train"], held), _those(sets["train"], ~held)
        left -= fraction
    return sets


def _held(task: OwnData, sequences: Sequences, fraction: float) -> npt.NDArray[np.bool_]:
    if task.loss == "cross_entropy" and not task.every_step:
        held = stratified(sequences.targets.astype(np.int64), fraction, task.split_seed)
    else:
        held = drawn(len(sequences), fraction, task.split_seed)
    if not held.any():
        expected = "series enough to train, validate and test, two of some class; or validation_file and test_file"
        raise DataWrong(task.file, "all of it", f"{len(sequences)} series to hold one out of", expected)
    return held


def _sequences(task: OwnData, series: Series) -> Sequences:
    facts = task.known
    if series.features != facts.features or series.length > facts.length:
        found = f"series of up to {series.length} steps of {series.features} features"
        expected = f"at most {facts.length} steps of {facts.features}, as task.facts says"
        raise DataWrong(series.file, "all of it", found, expected)
    values = [standardised(one) for one in series.values] if task.normalize else series.values
    inputs, lengths = padded(values, facts.length)
    return Sequences(inputs, _targets(task, facts, series), lengths)


def _targets(task: OwnData, facts: Facts, series: Series) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    if facts.classes is not None:
        classes = class_numbers(series, facts.classes, masked=task.every_step)
        filled = _filled(classes, facts.length, MASKED) if task.every_step else np.stack(classes)
        return filled[..., 0].astype(np.int64)
    found = numbers(series, masked=task.every_step)
    if found[0].shape[-1] != facts.outputs:
        expected = f"{facts.outputs}, as task.facts says"
        raise DataWrong(series.file, "targets", f"{found[0].shape[-1]} numbers", expected)
    return (_filled(found, facts.length, np.nan) if task.every_step else np.stack(found)).astype(np.float32)


def _filled(targets: Iterable[npt.NDArray[np.generic]], length: int, mark: float) -> npt.NDArray[np.float64]:
    """(T_i, O) each -> (N, length, O), ``mark`` behind the shorter ones."""
    ends = [np.pad(one.astype(np.float64), ((0, length - len(one)), (0, 0)), constant_values=mark) for one in targets]
    return np.stack(ends)


def _those(sequences: Sequences, which: npt.NDArray[np.bool_]) -> Sequences:
    lengths = None if sequences.lengths is None else sequences.lengths[which]
    return Sequences(sequences.inputs[which], sequences.targets[which], lengths)


def _entropy(classes: npt.NDArray[np.int64]) -> float:
    """In nats: the loss of always answering with the frequencies."""
    counts = np.bincount(classes[classes != MASKED])
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
