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
    """A part of the study, with its own section in docs/results.md.

    Attributes:
        name: Name of the experiment. Its sweeps are the documents with this name, and those whose name continues with
            a hyphen.
        title: Heading of the section.
        about: First paragraph of the section.
        published: Published results to compare with.
        SELECTED: Sentence that says how the best of several settings is chosen, which is never by what is reported.
    """

    name: str
    title: str
    about: str
    published: Sequence[Published] = ()

    SELECTED: ClassVar[str] = "Where several settings ran, the bounds are held to the one with the best validation."

    @abstractmethod
    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return the tables of results. Sweeps that have not run have no trials in ``trials``."""

    @abstractmethod
    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return the bounds of this size with the results that are compared with them."""

    @abstractmethod
    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return the figures by name; every name starts with the experiment's."""

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return sentences that depend on the results."""
        return []
