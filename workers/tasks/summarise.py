"""What a task reads from its data: sizes, features, classes, sets, the first steps, and what makes scores doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workers.errors import DataMissing
from workers.tasks import mnist
from workers.tasks.data_advice import findings
from workers.tasks.data_folder import folder_of
from workers.tasks.data_statistics import feature_names
from workers.tasks.data_summary import (
    ClassCounts,
    DataSummary,
    DataWarning,
    FeatureSummary,
    FirstSeries,
    OutputSummary,
    SetSizes,
    Spread,
    TokenSummary,
)
from workers.tasks.dataset_info import DatasetTask
from workers.tasks.idx_files import files_of
from workers.tasks.images import Images
from workers.tasks.language import LanguageTask
from workers.tasks.readers.series import Series
from workers.tasks.readers.targets import all_labels, numbers
from workers.tasks.task import MASKED, Sequences, Split, Task
from workers.tasks.text import Text
from workers.tasks.vocabulary import UNKNOWN

MAX_LISTED = 100
"""Features, classes or outputs that are listed; of more, only the number is given."""
FIRST_STEPS, FIRST_FEATURES, FIRST_TOKENS = 5, 8, 60
BULK = 1_000_000
"""Values that are looked at together."""
HELD_OUT: tuple[Split, ...] = ("validation", "test")

_Values = npt.NDArray[np.generic]
_Labels = Sequence[str]


def summarise(task: Task, data_dir: Path | None) -> DataSummary:
    """Read the data of a task and return what was read. Nothing is fetched from elsewhere.

    Args:
        task: The task. If it knows the sizes of its data set, the files are checked against them.
        data_dir: The data directory; None for the folder in the user's cache.

    Raises:
        DataMissing: If the data cannot be read, or is not as the task says.
    """
    if isinstance(task, mnist.Mnist) and not mnist.is_here(data_dir):
        raise DataMissing(f"MNIST is not in {folder_of(data_dir)}; it is fetched by the first worker that trains on it")
    if isinstance(task, LanguageTask):
        return _of_text(task, data_dir)
    series: list[Series] = []
    if isinstance(task, DatasetTask):
        if task.dataset_name in task.facts:
            task.check_facts(data_dir)
        task = task.with_statistics(data_dir)
        series = task.read_series(data_dir)
    train, *held_out = task.training_data(data_dir), *(task.held_out(split, data_dir) for split in HELD_OUT)
    sets = [one for one in (train, *held_out) if one is not None]
    return _of_series(task, data_dir, series, train, sets)


def _of_series(
    task: Task, data_dir: Path | None, series: Sequence[Series], train: Sequences | None, sets: Sequence[Sequences]
) -> DataSummary:
    """Return the summary of series; ``sets`` are the sets that are fixed, and ``train`` is one of them or None."""
    values = [one for own in series for one in own.values] if series else list(_cut(sets[0]))
    picture = task.sample_view(sets[0].inputs[0], data_dir).image
    unnamed = ("value", "feature") if picture is None else ("pixel", "pixel")
    names = _names(feature_names(series[0]) if series else [None] * task.input_size, *unnamed)
    labels = _labels(task)
    classes = [] if labels is None else _classes(labels, train, sets)
    features, missing = _features(values, names)
    files = _files(task, series, data_dir)
    return DataSummary(
        task=_task_name(task),
        source=task.dataset_name if isinstance(task, DatasetTask) else _task_name(task),
        files=files,
        format="idx" if picture is not None and files else _format(files),
        kind="regression" if labels is None else "classification",
        every_step=task.readout == "every",
        series=len(values) if series else sum(map(len, sets)),
        steps=_spread([len(one) for one in values]),
        inputs=(task.sequence_length, task.input_size),
        image=None if picture is None else (picture.shape[0], picture.shape[1]),
        feature_count=len(names),
        features=features[:MAX_LISTED],
        missing=missing,
        without_target=sum(map(_without_target, sets)) if task.readout == "every" else 0,
        class_count=len(classes),
        classes=classes[:MAX_LISTED],
        outputs=_outputs(sets, list(getattr(task, "targets", []))) if labels is None else [],
        sets=_sizes(train, *(len(one) for one in sets[-2:])),
        first=_first(values[0], names, _first_targets(task, series, sets[0], labels)),
        tokens=None,
        warnings=_warnings(task),
    )


def _of_text(task: LanguageTask, data_dir: Path | None) -> DataSummary:
    streams = task.streams(data_dir)
    symbols = streams.vocabulary.symbols
    unknown = symbols.index(UNKNOWN) if UNKNOWN in symbols else -1
    files = _files(task, [], data_dir)
    return DataSummary(
        task=_task_name(task),
        source=files[0] if files else _task_name(task),
        files=files,
        format="text",
        kind="language",
        every_step=True,
        series=None,
        steps=None,
        inputs=None,
        image=None,
        feature_count=0,
        features=[],
        missing=0,
        without_target=0,
        class_count=0,
        classes=[],
        outputs=[],
        sets=SetSizes(train=len(streams.train), validation=len(streams.validation), test=len(streams.test)),
        first=None,
        tokens=TokenSummary(
            vocabulary=len(symbols),
            unknown=float((streams.validation == unknown).mean()),
            first=[symbols[i] for i in streams.train[:FIRST_TOKENS]],
        ),
        warnings=[],
    )


def _task_name(task: Task) -> str:
    return str(task.name)  # type: ignore[attr-defined]  # every task of TASKS has a name


def _files(task: Task, series: Sequence[Series], data_dir: Path | None) -> list[str]:
    """Return the names of the files that a task reads, as far as they are files of the user's."""
    if isinstance(task, Images):
        return list(files_of(task.dataset, data_dir).values())
    if isinstance(task, mnist.Mnist):
        return list(mnist.FILES)
    if series:
        return [one.file for one in series]
    return [task.file] if isinstance(task, Text) else []


def _format(files: Sequence[str]) -> str:
    if not files:
        return ""
    return Path(files[0]).suffix.removeprefix(".")


def _names(names: Sequence[str | None], single: str, several: str) -> list[str]:
    """Return names, with a word and a number from 1 for each that is missing."""
    if len(names) == 1:
        return [names[0] or single]
    return [name or f"{several} {number}" for number, name in enumerate(names, 1)]


def _cut(sequences: Sequences) -> Iterator[_Values]:
    """Yield the inputs of each sequence without its padding."""
    lengths = sequences.lengths if sequences.lengths is not None else [None] * len(sequences)
    yield from (inputs[:length] for inputs, length in zip(sequences.inputs, lengths, strict=True))


def _spread(counts: Sequence[int]) -> Spread:
    return Spread(min=min(counts), median=float(np.median(counts)), max=max(counts))


def _features(values: Sequence[_Values], names: Sequence[str]) -> tuple[list[FeatureSummary], int]:
    """Return the features over all series, and the number of missing values."""
    count = len(names)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    total, known, missing = np.zeros(count), np.zeros(count, np.int64), np.zeros(count, np.int64)
    for rows in _in_bulk(values):
        gaps = np.isnan(rows)
        low, high = np.fmin(low, np.fmin.reduce(rows)), np.fmax(high, np.fmax.reduce(rows))
        total, known, missing = total + np.nansum(rows, axis=0), known + (~gaps).sum(axis=0), missing + gaps.sum(axis=0)
    found = [
        FeatureSummary(
            name=name,
            min=_number(low[i]) if known[i] else None,
            mean=_number(total[i] / known[i]) if known[i] else None,
            max=_number(high[i]) if known[i] else None,
            missing=int(missing[i]),
        )
        for i, name in enumerate(names[:MAX_LISTED])
    ]
    return found, int(missing.sum())


def _in_bulk(values: Sequence[_Values]) -> Iterator[npt.NDArray[np.float64]]:
    """Yield the steps of all series, (rows, features), many series at a time."""
    bulk: list[_Values] = []
    size = 0
    for one in values:
        bulk.append(one)
        size += one.size
        if size >= BULK:
            yield np.concatenate(bulk).astype(np.float64)
            bulk, size = [], 0
    if bulk:
        yield np.concatenate(bulk).astype(np.float64)


def _number(value: Any) -> float | None:
    """Return a number for JSON, which has no NaN and no infinity."""
    return float(value) if np.isfinite(value) else None


def _labels(task: Task) -> _Labels | None:
    """Return the labels of the classes by number; None if numbers are predicted."""
    if task.loss == "mse":
        return None
    classes = task.info.classes if isinstance(task, DatasetTask) else None
    return classes or [str(number) for number in range(task.output_size)]


def _classes(labels: _Labels, train: Sequences | None, sets: Sequence[Sequences]) -> list[ClassCounts]:
    counts = [
        np.bincount(one.targets[one.targets != MASKED].astype(np.int64), minlength=len(labels)).tolist() for one in sets
    ]
    validation, test = counts[-2:]
    return [
        ClassCounts(label=label, train=None if train is None else counts[0][i], validation=validation[i], test=test[i])
        for i, label in enumerate(labels)
    ]


def _outputs(sets: Sequence[Sequences], names: Sequence[str]) -> list[OutputSummary]:
    targets = np.concatenate([one.targets.reshape(-1, one.targets.shape[-1]) for one in sets]).astype(np.float64)
    named: Sequence[str | None] = names if len(names) == targets.shape[1] else [None] * targets.shape[1]
    return [
        OutputSummary(name=name, min=np.nanmin(column), mean=np.nanmean(column), max=np.nanmax(column))
        for name, column in zip(_names(named, "target", "target")[:MAX_LISTED], targets.T, strict=False)
        if not np.isnan(column).all()
    ]


def _without_target(one: Sequences) -> int:
    """Return how many steps of a set have no target, not counting the padding."""
    flat = one.targets.reshape(len(one), one.inputs.shape[1], -1)
    given = (flat != MASKED) if flat.dtype.kind == "i" else ~np.isnan(flat)
    return sum(map(len, _cut(one))) - int(given.all(axis=2).sum())


def _sizes(train: Sequences | None, validation: int, test: int) -> SetSizes:
    return SetSizes(train=None if train is None else len(train), validation=validation, test=test)


def _first_targets(task: Task, series: Sequence[Series], sequences: Sequences, labels: _Labels | None) -> list[str]:
    """Return the target of the first series, or of its first steps, as it is read."""
    if series:
        shown = _targets_read(series[0], every_step=task.readout == "every", classes=labels is not None)
    else:
        own = sequences.targets[0]
        rows = [np.atleast_1d(one).tolist() for one in (own[:FIRST_STEPS] if task.readout == "every" else [own])]
        shown = [[_word(number, labels) for number in row] for row in rows]
    return [", ".join(row) for row in shown]


def _word(number: Any, labels: _Labels | None) -> str:
    if labels is None:
        return str(number)
    return "none" if number == MASKED else labels[number]


def _targets_read(series: Series, *, every_step: bool, classes: bool) -> list[list[str]]:
    """Return the labels or the numbers of the first series as the task reads them; "none" for a missing one."""
    own = series.targets[0][:FIRST_STEPS] if every_step else series.targets[0].reshape(1, -1)
    one = replace(series, targets=[own])
    if classes:
        read = all_labels(one)
    else:
        read = ["" if np.isnan(x) else str(x).removesuffix(".0") for x in numbers(one, masked=True)[0].ravel()]
    words = np.array([word or "none" for word in read], object).reshape(own.shape)
    found: list[list[str]] = words.tolist()
    return found


def _first(values: _Values, names: Sequence[str], targets: list[str]) -> FirstSeries:
    steps = values[:FIRST_STEPS, :FIRST_FEATURES].astype(np.float64)
    shown = [[_number(value) for value in step] for step in steps]
    return FirstSeries(features=list(names[:FIRST_FEATURES]), steps=shown, targets=targets)


def _warnings(task: Task) -> list[DataWarning]:
    found = findings(task) if isinstance(task, DatasetTask) else {}
    return [DataWarning(problem=one.problem, advice=one.advice) for one in found.values()]
