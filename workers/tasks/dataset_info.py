"""What has to be known of a data set to build a network for it, kept in the sweep beside the data set's name.

The files are read once, where a sweep is accepted: then every process, and whoever loads a trained model later, knows
the sizes of the network without them.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator
from pydantic_core import PydanticCustomError

from workers.errors import DataMissing
from workers.tasks.task import Task


class Facts(BaseModel):
    """Sizes of a data set. Either ``classes`` or ``outputs``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    length: int = Field(ge=1, le=10_000_000, description="steps of the longest series")
    features: int = Field(ge=1, le=1_000_000, description="values per step")
    classes: list[str] | None = Field(default=None, min_length=1, max_length=100_000, description="labels, by number")
    outputs: int | None = Field(default=None, ge=1, le=1_000_000, description="numbers to predict, for regression")
    baseline: FiniteFloat | None = Field(
        default=None, ge=0, description="loss of the best constant answer; default: that of equally frequent classes"
    )

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.classes is None) == (self.outputs is None):
            allowed = {"expected": "classes for classification, or outputs for regression"}
            raise PydanticCustomError("facts", "give classes or outputs, and not both", allowed)
        return self

    @property
    def size(self) -> int:
        """Of the network's output."""
        return len(self.classes) if self.classes is not None else self.outputs or 0

    @property
    def constant_loss(self) -> float:
        """NaN for regression where the baseline was not given."""
        if self.baseline is not None:
            return float(self.baseline)
        return math.nan if self.classes is None else math.log(len(self.classes))


class FileTask(Task):
    """A task whose sizes depend on files of the data directory.

    ``source_field`` names the field that says which; ``decisive`` are the further fields that facts depend on: they
    cannot be swept, so that one source has one set of facts.
    """

    source_field: ClassVar[str]
    decisive: ClassVar[frozenset[str]] = frozenset({"facts"})

    facts: dict[str, Facts] = Field(
        default={}, max_length=1_000,
        description="sizes by data set, read from the files where the server sees them",
    )  # fmt: skip

    @property
    def source(self) -> str:
        """The data set's name."""
        return str(getattr(self, self.source_field))

    @abstractmethod
    def read_facts(self, data_dir: Path | None) -> Facts:
        """Read from the files. Raises DataMissing, or DataWrong for what a file should not hold."""

    def described(self, data_dir: Path | None) -> Self:
        """The same task with its facts. Raises as ``read_facts``."""
        if self.source in self.facts:
            return self
        return self.model_copy(update={"facts": self.facts | {self.source: self.read_facts(data_dir)}})

    @property
    def known(self) -> Facts:
        """The facts of this task's data set. Raises DataMissing where nobody has read them."""
        if self.source not in self.facts:
            raise DataMissing(
                f"the sizes of {self.source} are not known: build the task with described(data_dir), "
                "parse its sweep with parse_sweep(document, data_dir), or give task.facts"
            )
        return self.facts[self.source]

    def labels(self, data_dir: Path | None) -> list[str] | None:
        return self.described(data_dir).known.classes

    @property
    def output_size(self) -> int:
        return self.known.size

    @property
    def baseline(self) -> float:
        return self.known.constant_loss
