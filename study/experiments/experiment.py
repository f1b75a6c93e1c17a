"""What an experiment is: its sweeps' trials in; tables, bounds, sentences and plots out."""

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
    """``name``: its sweeps are the documents of this name and those that go on with a hyphen.

    ``SELECTED``: by what the best of several settings is chosen, never by what is reported.
    """

    name: str
    title: str
    about: str
    published: Sequence[Published] = ()

    SELECTED: ClassVar[str] = "Where several settings ran, the bounds are held to the one with the best validation."

    @abstractmethod
    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """The figures. trials: of all its sweeps that ran, perhaps none of some."""

    @abstractmethod
    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """What is asked of them in this size."""

    @abstractmethod
    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """By name, which begins with the experiment's own."""

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Sentences that the numbers decide."""
        return []
