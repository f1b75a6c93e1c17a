"""The points of the phase diagram, each made of one trial."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from study.trials import TrialOutcome

SUCCESS = 0.5
"""A trial succeeds if its best validation loss is at most this share of the baseline."""

K = TypeVar("K", bound=Hashable)


class PhasePoint(NamedTuple):
    """A trial in the coordinates of the phase diagram.

    Attributes:
        length: Steps T of a sequence.
        filling: (m1 + m2) / n. With 2 every matrix can be reached, with 1 every rotation.
        success: Whether the trial succeeded.
    """

    task: str
    length: int
    margin: float
    filling: float
    activation: str
    start: str
    seed: int
    success: bool

    @property
    def r_t(self) -> float:
        """Margin times length, r T, rounded to three digits so that equal products of different lengths are equal."""
        return float(f"{self.margin * self.length:.3g}")

    @property
    def setting(self) -> tuple[str, float, str, str]:
        """The coordinates without margin, length and seed."""
        return self.task, self.filling, self.activation, self.start


def points_of(trials: Iterable[TrialOutcome]) -> list[PhasePoint]:
    """Return the points of the trials, sorted by their coordinates.

    A trial that diverged counts by its best report. A trial that was cancelled or lost is left out.
    """
    return sorted(_point(trial) for trial in trials if not trial.lost)


def _point(trial: TrialOutcome) -> PhasePoint:
    model, task = trial.spec.model, trial.spec.task
    best = trial.value("val/loss")
    return PhasePoint(
        task.name,
        task.sequence_length,
        model.band_margin,
        sum(model.reflector_counts) / model.hidden_size,
        model.nonlinearity,
        model.start_name,
        trial.spec.training.seed,
        best is not None and best <= SUCCESS * task.baseline,
    )


def group_by(points: Sequence[PhasePoint], key: Callable[[PhasePoint], K]) -> dict[K, list[PhasePoint]]:
    """Return the points by ``key``, in the order in which the keys first appear."""
    found: dict[K, list[PhasePoint]] = {}
    for point in points:
        found.setdefault(key(point), []).append(point)
    return found


def share(points: Sequence[PhasePoint]) -> float:
    """Return the share of successes, or NaN if there are no points."""
    return sum(point.success for point in points) / len(points) if points else float("nan")
