"""Documents that say what a task reads from its data; ``summarise`` makes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Summary(BaseModel):
    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)


class Spread(_Summary):
    """The least, the middle and the greatest of several numbers."""

    min: float
    """The least."""
    median: float
    """The median."""
    max: float
    """The greatest."""


class FeatureSummary(_Summary):
    """One feature over all steps of all series."""

    name: str
    """Its name in the file, or its number."""
    min: float | None
    """Its least value; null if it has none."""
    mean: float | None
    """The mean of its values."""
    max: float | None
    """Its greatest value."""
    missing: int
    """How many values are missing."""


class ClassCounts(_Summary):
    """How many series, or steps if every step has a target, of each set belong to a class."""

    label: str
    """The label in the file."""
    train: int | None
    """In the training set; null if training sequences are drawn anew at every step."""
    validation: int
    """In the validation set."""
    test: int
    """In the test set."""


class OutputSummary(_Summary):
    """One of the numbers to predict, over all sets."""

    name: str
    """Its column, or its number."""
    min: float
    """Its least value."""
    mean: float
    """The mean of its values: the best constant answer."""
    max: float
    """Its greatest value."""


class SetSizes(_Summary):
    """The number of series in each set; of a text, the number of tokens."""

    train: int | None
    """In the training set; null if training sequences are drawn anew at every step."""
    validation: int
    """In the validation set."""
    test: int
    """In the test set."""


class FirstSeries(_Summary):
    """The beginning of the first series, as it is in the file."""

    features: list[str]
    """Names of the features that are shown."""
    steps: list[list[float | None]]
    """The first steps, each with the values of these features; null for a missing value."""
    targets: list[str]
    """The target of the series, or of each of these steps."""


class TokenSummary(_Summary):
    """The tokens of a text."""

    vocabulary: int
    """How many different tokens the networks know; all others are one token of their own."""
    unknown: float
    """The share of the validation text that they do not know."""
    first: list[str]
    """The beginning of the training text."""


class DataWarning(_Summary):
    """Something that makes scores hard to trust."""

    problem: str
    """What was found and why it matters, as a phrase that follows the name of the data set."""
    advice: str
    """What to do."""


class DataSummary(_Summary):
    """What a task reads from its data set, and how the set is divided."""

    task: str
    """The name of the task."""
    source: str
    """The name of the file or data set; the task's name if it has its own data."""
    files: list[str]
    """The files that are read."""
    format: str
    """Their format; empty if no file is read."""
    kind: Literal["classification", "regression", "language"]
    """Whether classes are told apart, numbers predicted, or the next token."""
    every_step: bool
    """Whether every step has a target, instead of each series."""
    series: int | None
    """The number of series in all files; null for a text."""
    steps: Spread | None
    """Their numbers of steps; null for a text."""
    inputs: tuple[int, int] | None
    """What the networks read: the steps of the longest series and the values per step; null for a text."""
    image: tuple[int, int] | None
    """Height and width of the images that the series are made of; null for other data."""
    feature_count: int
    """The number of features of a step; 0 for a text."""
    features: list[FeatureSummary]
    """The features, at most the first 100; of data that are not in files of series, over the training set alone."""
    missing: int
    """How many values are missing in all files."""
    without_target: int
    """How many steps have no target, if every step can have one."""
    class_count: int
    """The number of classes; 0 for regression and for a text."""
    classes: list[ClassCounts]
    """The classes, at most the first 100."""
    outputs: list[OutputSummary]
    """The numbers to predict, at most the first 100."""
    sets: SetSizes
    """The sizes of the three sets."""
    first: FirstSeries | None
    """The beginning of the first series; null for a text."""
    tokens: TokenSummary | None
    """The tokens of a text; null for anything else."""
    warnings: list[DataWarning]
    """What makes scores on this data hard to trust."""
