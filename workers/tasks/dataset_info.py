"""What has to be known about a data set to build a network for it, stored in the sweep by the name of the data set.

The files are read once, when a sweep is accepted. From then on every process, and everybody who loads a trained model,
knows the sizes of the network without the files.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy.typing as npt
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from workers.errors import DataMissing
from workers.tasks.data_statistics import DataStatistics, Sets, feature_names, feature_words, input_words, measure
from workers.tasks.readers.series import Series
from workers.tasks.task import SampleView, Task

MEASURED = ("digest", "statistics")
"""Fields of ``DatasetInfo`` that earlier releases did not have."""


class DatasetInfo(BaseModel):
    """Sizes of a data set, with either ``classes`` (classification) or ``outputs`` (regression), and never both."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    length: int = Field(ge=1, le=10_000_000, description="steps of the longest series")
    features: int = Field(ge=1, le=1_000_000, description="values per step")
    classes: list[str] | None = Field(
        default=None,
        min_length=1,
        max_length=100_000,
        description="labels of the classes, in the order of their numbers",
    )
    outputs: int | None = Field(
        default=None, ge=1, le=1_000_000, description="how many numbers are predicted, for regression"
    )
    baseline: FiniteFloat | None = Field(
        default=None,
        ge=0,
        description="loss of the best constant answer; if omitted, that of equally frequent classes",
    )
    digest: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{32}$",
        description="digest of series or images and their targets, by which a worker notices that files were changed",
    )
    statistics: DataStatistics | None = Field(
        default=None, description="numbers that warnings are made of; the server measures them if it has the files"
    )

    @model_serializer(mode="wrap")
    def _without_unmeasured(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not measured, so that the document is that of earlier releases."""
        document: dict[str, Any] = write(self)
        return {name: value for name, value in document.items() if value is not None or name not in MEASURED}

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.classes is None) == (self.outputs is None):
            allowed = {"expected": "classes for classification, or outputs for regression"}
            raise PydanticCustomError("facts", "give exactly one of classes and outputs", allowed)
        return self

    @property
    def size(self) -> int:
        """Size of the network's output: the number of classes or of predicted numbers."""
        return len(self.classes) if self.classes is not None else self.outputs or 0

    @property
    def constant_loss(self) -> float:
        """The ``baseline``; without one, ln of the number of classes, or NaN for regression."""
        if self.baseline is not None:
            return float(self.baseline)
        return math.nan if self.classes is None else math.log(len(self.classes))


class DatasetTask(Task):
    """A task whose sizes depend on a data set in the data directory.

    Attributes:
        dataset_field: Name of the field that says which data set.
        info_fields: Names of the other fields that the sizes depend on. They cannot be swept, so that a data set has
            the same sizes in all trials of a sweep.
    """

    reads_files: ClassVar[bool] = True
    dataset_field: ClassVar[str]
    info_fields: ClassVar[frozenset[str]] = frozenset({"facts"})

    facts: dict[str, DatasetInfo] = Field(
        default={},
        max_length=1_000,
        description="sizes of each data set by its name; the server reads them from the files if it has them",
    )

    @property
    def dataset_name(self) -> str:
        """Name of the data set, the value of the field ``dataset_field``."""
        return str(getattr(self, self.dataset_field))

    @abstractmethod
    def read_info(self, data_dir: Path | None) -> DatasetInfo:
        """Read the sizes from the files.

        Raises:
            DataMissing: If a file is missing.
            DataWrong: If a file contains something that its format or the task does not allow.
        """

    @abstractmethod
    def read_series(self, data_dir: Path | None) -> list[Series]:
        """Return the series of every file as they are there, with missing values; none if the files hold other data.

        Raises:
            DataMissing: If a file is missing or wrong.
        """

    def read_statistics(self, data_dir: Path | None) -> DataStatistics:
        """Measure the data set, cut into the sets of this task, which knows its sizes.

        Raises:
            DataMissing: If a file is missing or wrong, or cannot be divided into three sets.
        """
        series = self.read_series(data_dir)
        return measure(
            Sets.of(self, data_dir),
            self.info.classes,
            input_words(feature_words(feature_names(series[0])), self.input_size),
            every_step=self.readout == "every",
            series=series,
            scaled=bool(getattr(self, "normalize", False)),
        )

    def with_info(self, data_dir: Path | None) -> Self:
        """Return the same task with the sizes of its data set, read from the files unless they are known already.

        Raises:
            DataMissing: If a file is missing or wrong.
        """
        if self.dataset_name in self.facts:
            return self
        return self._with(self.read_info(data_dir))

    def with_statistics(self, data_dir: Path | None) -> Self:
        """Return the same task with the sizes of its data set and what can be measured of it now.

        Nothing is measured if ``facts`` has the sizes and the files are elsewhere or are others, or if they cannot be
        divided into sets. Numbers that ``facts`` brings along are not kept: the task may have been changed since.

        Raises:
            DataMissing: If the sizes are not known, and a file is missing or wrong.
        """
        task = self.with_info(data_dir)
        try:
            if self.dataset_name in self.facts:
                self.check_facts(data_dir)
            statistics = task.read_statistics(data_dir)
        except OSError:
            statistics = None
        return task._with(task.info.model_copy(update={"statistics": statistics}))

    def check_facts(self, data_dir: Path | None) -> None:
        """Raise DataMissing if the files cannot be read, or if their sizes are not those that ``facts`` says.

        Sets are filled up to the sizes in ``facts``, which anybody may write, so they are not read by these alone.
        """
        own, found = self.info, self.read_info(data_dir)
        same = (own.length, own.features, own.outputs) == (found.length, found.features, found.outputs)
        if not same or set(own.classes or ()) != set(found.classes or ()):
            raise DataMissing(
                f"{self.dataset_name} has {found.length:,} steps of {found.features:,} features and {found.size:,} "
                f"{'classes' if found.classes else 'outputs'} here, which is not what task.facts says; the workers may "
                "have another file"
            )

    def without_statistics(self) -> Self:
        """Return the same task with the sizes of data sets alone: what a network and its training depend on."""
        if all(info.statistics is None for info in self.facts.values()):
            return self
        bare = {name: info.model_copy(update={"statistics": None}) for name, info in self.facts.items()}
        return self.model_copy(update={"facts": bare})

    def _with(self, info: DatasetInfo) -> Self:
        return self.model_copy(update={"facts": self.facts | {self.dataset_name: info}})

    @property
    def info(self) -> DatasetInfo:
        """The sizes of this task's data set. Raises DataMissing if they have not been read."""
        if self.dataset_name not in self.facts:
            raise DataMissing(
                f"the sizes of {self.dataset_name} are not known: build the task with with_info(data_dir), "
                "parse its sweep with parse_sweep(document, data_dir), or give task.facts"
            )
        return self.facts[self.dataset_name]

    def sample_view(self, inputs: npt.NDArray[Any], data_dir: Path | None) -> SampleView:
        """Return the steps over time and the labels of the classes."""
        return SampleView(inputs, class_names=self.with_info(data_dir).info.classes)

    @property
    def output_size(self) -> int:
        """Number of classes or of predicted numbers in the data set."""
        return self.info.size

    @property
    def baseline(self) -> float:
        """Loss of the best constant answer on the data set, as far as its sizes say (``DatasetInfo.constant_loss``)."""
        return self.info.constant_loss
