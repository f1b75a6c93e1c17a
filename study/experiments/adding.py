"""The adding problem at several lengths: the squared error, and the time to reach it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from matplotlib.figure import Figure

from study.experiments.experiment import Experiment
from study.plots import coloured, curves, finish, limit, panels
from study.records import PointRecord
from study.tables import NONE, Bound, ResultTable, format_mean, format_number
from study.trials import Group, TrialOutcome, best_of, groups


@dataclass(frozen=True)
class AddingExperiment(Experiment):
    """The adding problem.

    Attributes:
        error: The mean squared validation error that every seed must reach.
        seconds: The seconds of training and scoring within which it must be reached, by the length of a sequence.
    """

    error: float = 2e-3
    seconds: dict[int, float] = field(default_factory=dict)

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return one table with the mean squared errors, and the time to reach ``error``, of each length and model."""
        headings = (
            "T",
            "model",
            "parameters (recurrent)",
            "steps",
            "seeds",
            "best validation MSE",
            "test MSE",
            f"steps to {self.error:g}",
            f"seconds to {self.error:g}",
            "seconds in all",
            "trained together",
        )
        found = sorted(groups(trials), key=_length)
        return [ResultTable(headings, [self._row(group) for group in found])]

    def _row(self, group: Group) -> list[str]:
        reached = [point for trial in group.trials if (point := self._reached(trial)) is not None]
        return [
            str(_length(group)),
            group.label,
            group.size,
            group.steps,
            group.seeds,
            format_mean(group.values("val/loss")),
            format_mean(group.values("test/loss")),
            format_mean([point.step for point in reached]) if reached else "never",
            format_mean([point.values.get("time/wall_s") or 0.0 for point in reached]) if reached else NONE,
            format_mean(group.seconds),
            group.pack_size,
        ]

    def _reached(self, trial: TrialOutcome) -> PointRecord | None:
        return trial.first(lambda point: (loss := point.values.get("val/loss")) is not None and loss <= self.error)

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return a bound for each length: every seed of the best spectral net reaches ``error`` within ``seconds``."""
        found = groups(trials)
        return [self._bound(length, most, found) for length, most in self.seconds.items()]

    def _bound(self, length: int, most: float, found: Sequence[Group]) -> Bound:
        own = best_of(group for group in found if group.spectral and _length(group) == length)
        asked = f"MSE <= {self.error:g} within {most:.0f} s, every seed"
        if own is None:
            return Bound(f"T = {length}", asked, NONE, None)
        done = [
            (point := self._reached(trial)) is not None and (point.values.get("time/wall_s") or 0.0) <= most
            for trial in own.trials
        ]
        text = f"{sum(done)} of {len(done)} seeds; best {format_mean(own.values('val/loss'))}"
        return Bound(f"T = {length}: {own.label}", asked, text, all(done))

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return one figure: the mean squared validation error over training steps, with a panel for each length."""
        found = groups(trials)
        lengths = sorted({_length(group) for group in found})
        figure, all_axes = panels(len(lengths), height=5.0)
        for axes, length in zip(all_axes, lengths, strict=False):
            own = [group for group in found if _length(group) == length]
            for colour, group in coloured(own):
                curves(axes, colour, group.label, [trial.curve("val/loss") for trial in group.trials])
            axes.set_yscale("log")
            limit(axes, own[0].spec.task.baseline, "baseline, 1/6")
            limit(axes, self.error, f"bound, {self.error:g}")
            finish(axes, f"Adding, T = {length}", "training step", "validation MSE")
        return {self.name: figure}

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return one sentence with the error of a net that always answers 1; none if there are no trials."""
        bases = {trial.spec.task.baseline for trial in trials}
        return [f"Baseline at every length: {format_number(base)}, the error of the answer 1." for base in bases]


def _length(group: Group) -> int:
    return group.spec.task.sequence_length
