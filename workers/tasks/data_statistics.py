"""Numbers of a data set that tell how far its scores can be trusted; ``data_advice`` makes warnings of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from workers.tasks.feature_probe import Probed, probe
from workers.tasks.readers.series import Series
from workers.tasks.task import MASKED, Sequences, Task

MAX_NAMED = 5
"""Features or classes of one kind that are named; of more, only the number is kept."""
SAMPLE = 4_000_000
"""Values that are looked at to find features that float32 cannot tell apart."""
FINE = 2**12
"""Numbers of float32 in the range of a feature from which on its detail is kept, whatever else becomes one."""
SMOOTHER = 0.2
"""By how much neighbouring steps have to be more alike than neighbouring features to be steps beyond doubt."""

READING_WORDS = {
    "last": "the last value of {}",
    "first": "the first value of {}",
    "mean": "the mean of {}",
    "max": "the maximum of {}",
    "min": "the minimum of {}",
    "value": "the value of {} at the same step",
    "step": "step {step} of {}",
    "length": "the number of steps",
}


class StoredNumbers(BaseModel):
    """Base of what a sweep stores of its data."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class NamedFew(StoredNumbers):
    """Features or classes of one kind."""

    count: int = Field(default=0, ge=0, description="how many there are")
    names: list[str] = Field(default=[], max_length=MAX_NAMED, description="names of the first of them")

    @classmethod
    def of(cls, names: Iterable[str]) -> NamedFew:
        """Return the number of names, and the first of them."""
        every = list(names)
        return cls(count=len(every), names=every[:MAX_NAMED])


class SingleReading(StoredNumbers):
    """The one number of each series that predicts the target best without a network (``feature_probe``)."""

    reading: str = Field(max_length=500, description="the number in words, such as: the last value of 'x'")
    score: FiniteFloat = Field(description="accuracy on the validation set, or the share of the variance explained")
    loss: FiniteFloat | None = Field(default=None, description="mean squared error there, for numbers to predict")
    alone: bool = Field(default=False, description="whether it gives the target away so plainly that it is suspicious")


class DataStatistics(StoredNumbers):
    """Numbers of a data set, cut into its training, validation and test set.

    If every step has a target, shares, scores and losses are those of the steps that have one.
    """

    train: int = Field(ge=0, description="series that train")
    validation: int = Field(ge=0, description="series that validate")
    test: int = Field(ge=0, description="series that test")
    majority_class: str | None = Field(default=None, description="most frequent class of the training set")
    majority_share: FiniteFloat | None = Field(default=None, description="its share of the training set")
    constant_score: FiniteFloat | None = Field(
        default=None, description="accuracy on the validation set of always answering the most frequent class"
    )
    constant_loss: FiniteFloat | None = Field(
        default=None, description="loss on the validation set of the constant answer that is best on the training set"
    )
    unlearned: NamedFew = Field(
        default=NamedFew(), description="classes of the validation or test set that no training series has"
    )
    shared_validation: int = Field(default=0, ge=0, description="validation series that are training series too")
    shared_test: int = Field(default=0, ge=0, description="test series that are training series too")
    constant: NamedFew = Field(default=NamedFew(), description="features with one value at all steps of all series")
    merged: NamedFew = Field(default=NamedFew(), description="features whose values are not told apart in float32")
    merged_values: tuple[int, int] | None = Field(
        default=None, description="of the worst of them: different values in a sample, and how many are left in float32"
    )
    swapped_axes: bool = Field(default=False, description="whether steps and features may be exchanged in the file")
    probe: SingleReading | None = Field(default=None, description="what a single number of each series tells")


class Sets(NamedTuple):
    """The training, validation and test set of a data set."""

    train: Sequences
    validation: Sequences
    test: Sequences

    @classmethod
    def of(cls, task: Task, data_dir: Path | None) -> Sets:
        """Return the sets of a task with a fixed training set. Raises DataMissing as the task does."""
        train = task.training_data(data_dir)
        assert train is not None, "a data set is a fixed training set"
        return cls(train, task.held_out("validation", data_dir), task.held_out("test", data_dir))


def measure(
    sets: Sets,
    labels: Sequence[str] | None,
    inputs: Sequence[str],
    *,
    every_step: bool = False,
    series: Sequence[Series] = (),
    scaled: bool = False,
) -> DataStatistics:
    """Return the numbers of a data set.

    Args:
        sets: Its three sets. Inputs may be of any type of number.
        labels: Labels of the classes by number; None if numbers are predicted.
        inputs: Words for the features of the inputs.
        every_step: Whether every step has a target.
        series: The series of its files, as they are there; none if the files hold other data.
        scaled: Whether each series is scaled before it becomes float32.
    """
    train, validation, test = sets
    names = feature_words(feature_names(series[0])) if series else []
    found = probe(train, validation, every_step=every_step, classes=None if labels is None else len(labels))
    merged, worst = _merged(series, names) if series and not scaled else (NamedFew(), None)
    return DataStatistics(
        train=len(train),
        validation=len(validation),
        test=len(test),
        **(_of_numbers(train, validation) if labels is None else _of_classes(sets, labels)),
        **_shared(sets),
        constant=NamedFew.of(_constant(series, names)),
        merged=merged,
        merged_values=worst,
        swapped_axes=any(one.file.endswith(".npz") and _swapped(one) for one in series[:1]),
        probe=None if found is None else _in_words(found, inputs, sets, series),
    )


def input_words(features: Sequence[str], inputs: int) -> list[str]:
    """Return words for the inputs of a step, in which each feature has one value or several."""
    width = inputs // len(features)
    return [one + (f" ({i + 1} of {width} in a step)" if width > 1 else "") for i in range(width) for one in features]


def feature_names(series: Series) -> list[str | None]:
    """Return the names of the features, which are those of a table's columns; None for a feature without a name.

    In a wide table columns are steps, and its one feature has no name.
    """
    if series.names is None or len(series.names) != series.features:
        return [None] * series.features
    return list(series.names)


def feature_words(names: Sequence[str | None]) -> list[str]:
    """Return words for features: their names in quotation marks, or their numbers from 1."""
    unnamed = "the series" if len(names) == 1 else "feature {}"
    return [unnamed.format(i) if name is None else f"'{name[:100]}'" for i, name in enumerate(names, 1)]


def _shared(sets: Sets) -> dict[str, Any]:
    """Return how many series of the other sets have the inputs of a training series, number for number."""
    known = set(_hashes(sets.train))
    return {
        "shared_validation": sum(one in known for one in _hashes(sets.validation)),
        "shared_test": sum(one in known for one in _hashes(sets.test)),
    }


def _hashes(sequences: Sequences) -> Iterable[bytes]:
    lengths = sequences.lengths if sequences.lengths is not None else [None] * len(sequences)
    for inputs, length in zip(sequences.inputs, lengths, strict=True):
        yield hashlib.blake2b(np.ascontiguousarray(inputs[:length]).tobytes(), digest_size=16).digest()


def _of_classes(sets: Sets, labels: Sequence[str]) -> dict[str, Any]:
    """Return what constant answers reach, and the classes that cannot be learned."""
    counts = [
        np.bincount(one.targets[one.targets != MASKED].astype(np.int64), minlength=len(labels))
        for one in (sets.train, sets.validation, sets.test)
    ]
    train, validation, test = counts
    unlearned = NamedFew.of(f"'{labels[int(i)][:100]}'" for i in np.flatnonzero((train == 0) & (validation + test > 0)))
    if not train.sum() or not validation.sum():
        return {"unlearned": unlearned}
    most, shares = int(np.argmax(train)), validation / validation.sum()
    known = shares[shares > 0]
    with np.errstate(divide="ignore"):
        loss = float(-(known * np.log((train / train.sum())[shares > 0])).sum())
    return {
        "majority_class": labels[most][:100],
        "majority_share": float(train[most] / train.sum()),
        "constant_score": float(shares[most]),
        "constant_loss": loss if math.isfinite(loss) else None,
        "unlearned": unlearned,
    }


def _of_numbers(train: Sequences, validation: Sequences) -> dict[str, Any]:
    """Return the loss of the constant answer that is best on the training set: its mean."""
    outputs = train.targets.shape[-1]
    known, checked = (one.targets.reshape(-1, outputs).astype(np.float64) for one in (train, validation))
    given = ~np.isnan(known)
    if not given.any(axis=0).all() or np.isnan(checked).all():
        return {}
    return {"constant_loss": float(np.nanmean((checked - np.nanmean(known, axis=0)) ** 2))}


def _constant(series: Sequence[Series], names: Sequence[str]) -> list[str]:
    """Return the names of the features that have one value, or none, at all steps of all series."""
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for values in (values for one in series for values in one.values):
        low = np.fmin(low, np.fmin.reduce(values, axis=0))
        high = np.fmax(high, np.fmax.reduce(values, axis=0))
        if (low < high).all():  # as a rule after the first series
            return []
    return [name for name, least, most in zip(names, low, high, strict=True) if not most > least]


def _merged(series: Sequence[Series], names: Sequence[str]) -> tuple[NamedFew, tuple[int, int] | None]:
    """Return the features whose different values partly become one in float32, and the numbers of the worst.

    A feature whose range has more than ``FINE`` numbers of float32 is left out: what it loses is rounding.
    """
    rows = max(100, min(10_000, SAMPLE // len(names)))
    parts: list[npt.NDArray[np.float64]] = []
    for values in (values for one in series for values in one.values):
        parts.append(values[: rows - sum(map(len, parts))])
        if sum(map(len, parts)) >= rows:
            break
    values = np.concatenate(parts)
    values = np.nan_to_num(np.where(np.isnan(values), np.fmin.reduce(values, axis=0), values))
    spacing = np.abs(values).max(axis=0) * np.finfo(np.float32).eps
    there, left = _distinct(values), _distinct(values.astype(np.float32))
    merged = np.flatnonzero((left < 0.9 * there) & (np.ptp(values, axis=0) < FINE * spacing))
    if not len(merged):
        return NamedFew(), None
    worst = merged[np.argmin(left[merged] / there[merged])]
    return NamedFew.of(names[int(i)] for i in merged), (int(there[worst]), int(left[worst]))


def _distinct(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return how many different values each column of (rows, columns) has."""
    found: npt.NDArray[np.int64] = (np.diff(np.sort(values, axis=0), axis=0) != 0).sum(axis=0) + 1
    return found


def _swapped(series: Series) -> bool:
    """Return whether series of more features than steps may have these two exchanged.

    They have not if neighbouring steps are clearly more alike than neighbouring features.
    """
    if series.features <= series.length:
        return False
    along = [[_likeness(values, axis) for values in series.values[:200]] for axis in (0, 1)]
    steps, features = (float(np.mean(found)) for found in along)
    return steps < features + SMOOTHER


def _likeness(values: npt.NDArray[np.float64], axis: int) -> float:
    """Return how alike neighbours are: 1 if they are equal, about 0 if they have nothing to do with each other."""
    values = np.nan_to_num(values)
    spread = float(values.var())
    if values.shape[axis] < 2 or not spread:
        return 0.0
    return 1 - float((np.diff(values, axis=axis) ** 2).mean()) / (2 * spread)


def _in_words(found: Probed, inputs: Sequence[str], sets: Sets, series: Sequence[Series]) -> SingleReading:
    name = "" if found.feature is None else inputs[found.feature]
    words = READING_WORDS[found.reading].format(name, step=1 + (found.step_number or 0))
    if sets.train.inputs.shape[1] == 1 and found.feature is not None:
        words = name
    columns = series[0].names if series else None
    if found.step_number is not None and columns is not None:
        words = f"the column '{columns[found.step_number][:100]}'"
    return SingleReading(reading=words[:500], score=found.score, loss=found.loss, alone=found.alone)
