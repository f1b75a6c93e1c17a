"""The training time of one trial, from which its throughput follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from workers.checkpoint_files import MetricsAtStep

TOTAL = "time/wall_s"
"""The metric that has the time of a trial in all of its attempts."""


@dataclass
class TrialClock:
    """The training time of one trial.

    Attributes:
        total: The seconds that it was trained and evaluated, in earlier attempts too.
        steps: The steps since its last report in this attempt.
        seconds: The seconds that these steps took.
    """

    total: float
    steps: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, history: Sequence[MetricsAtStep]) -> Self:
        """Return the clock of a trial that has made some reports."""
        return cls(history[-1].values.get(TOTAL, 0.0) if history else 0.0)

    def count(self, steps: int, seconds: float) -> None:
        """Count steps, and the seconds that they took."""
        self.steps, self.seconds, self.total = self.steps + steps, self.seconds + seconds, self.total + seconds

    def read(self, batch_size: int) -> dict[str, float]:
        """Return the metrics of a report by name, and count steps and their seconds from zero again."""
        found = {"throughput/sequences_per_s": self.steps * batch_size / max(self.seconds, 1e-9), TOTAL: self.total}
        self.steps, self.seconds = 0, 0.0
        return found
