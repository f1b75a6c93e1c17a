"""A trial as a point of the phase diagram."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from study.trials import TrialOutcome

SUCCESS = 0.5
"""Share of the baseline that the best validation loss of a trial that trains is below."""

K = TypeVar("K", bound=Hashable)


class PhasePoint(NamedTuple):
    """``length``: T, steps of a sequence. ``filling``: (m1 + m2) / n; 2 holds every matrix, 1 every rotation."""

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
        """r T to three digits, so that those of different lengths are the same number."""
        return float(f"{self.margin * self.length:.3g}")

    @property
    def setting(self) -> tuple[str, float, str, str]:
        """All but margin, length and seed."""
        return self.task, self.filling, self.activation, self.start


def points_of(trials: Iterable[TrialOutcome]) -> list[PhasePoint]:
    """In the order of task, length, r T, filling, activation, start. One that diverged counts by its best report, one
    that was ended from outside not at all."""
    return sorted(_point(trial) for trial in trials if not trial.lost)


def _point(trial: TrialOutcome) -> PhasePoint:
    model, task = trial.spec.model, trial.spec.task
    best = trial.value("val/loss")
    return PhasePoint(
        task.name, task.sequence_length, model.band_margin,
        sum(model.reflector_counts) / model.hidden_size, model.nonlinearity,
        model.start_name, trial.spec.training.seed, best is not None and best <= SUCCESS * task.baseline,
    )  # fmt: skip


def together(points: Sequence[PhasePoint], key: Callable[[PhasePoint], K]) -> dict[K, list[PhasePoint]]:
    """The points by ``key``, in the order of their first ones."""
    found: dict[K, list[PhasePoint]] = {}
    for point in points:
        found.setdefault(key(point), []).append(point)
    return found


def share(points: Sequence[PhasePoint]) -> float:
    """Of successes; NaN of nothing."""
    return sum(point.success for point in points) / len(points) if points else float("nan")
