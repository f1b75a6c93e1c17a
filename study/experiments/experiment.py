"""The base class of experiments, which turn the trials of their sweeps into tables, bounds, sentences and plots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from study.tables import Bound, Published, ResultTable
from study.trials import TrialOutcome


@dataclass(frozen=True)
class Experiment(ABC):
    """Turns the trials of its sweeps into the tables, bounds, plots and sentences of a section of docs/results.md.

    Attributes:
        name: Name of the experiment. Its sweeps are the documents with this name, and those whose name continues with
            a hyphen.
        title: Heading of the section.
        about: First paragraph of the section.
        published: Published results to compare with.
        SELECTED: Sentence that says how the best of several settings is chosen: never by a figure that is reported.
    """

    name: str
    title: str
    about: str
    published: Sequence[Published] = ()

    SELECTED: ClassVar[str] = "Where several settings ran, the bounds are held to the one with the best validation."

    @abstractmethod
    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return the tables of results; ``trials`` has the trials of those sweeps that have a record, at least one."""

    @abstractmethod
    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return the bounds for sweeps of ``size``, ``cpu`` or ``full``, with what was found.

        ``trials`` may be empty: then no bound was measured.
        """

    @abstractmethod
    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return the figures by the name of their file without the suffix; every name starts with the experiment's."""

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return sentences on the results, each an item of a list below the tables; by default none."""
        return []
