"""The points of the phase diagram, each a trial reduced to its coordinates and whether it succeeded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from study.trials import TrialOutcome

SUCCESS = 0.5
"""A trial succeeds if its validation loss at its best report is at most this share of the baseline."""

K = TypeVar("K", bound=Hashable)


class PhasePoint(NamedTuple):
    """A trial in the coordinates of the phase diagram.

    Attributes:
        task: Name of the task.
        length: Steps T of a whole sequence.
        margin: The margin r of the band of singular values.
        filling: (m1 + m2) / n. With 2 every matrix can be reached, with 1 every rotation.
        activation: Name of the activation.
        start: Name of the start of the reflectors.
        success: Whether the trial succeeded, as ``SUCCESS`` defines it.
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
        """The task, the filling, the activation and the start: the coordinates without margin, length and seed."""
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
    """Return the points by the value that ``key`` has for them, in the order in which the values first appear."""
    found: dict[K, list[PhasePoint]] = {}
    for point in points:
        found.setdefault(key(point), []).append(point)
    return found


def share(points: Sequence[PhasePoint]) -> float:
    """Return the share of the points that are successes, or NaN if there are no points."""
    return sum(point.success for point in points) / len(points) if points else float("nan")
