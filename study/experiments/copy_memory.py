"""The copy task at one length: how far and how soon nets get below the baseline, and whether controls do at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from study.experiments.experiment import Experiment
from study.plots import coloured, curves, finish, limit, panels
from study.records import PointRecord
from study.tables import NONE, Bound, ResultTable, at_least, format_mean, format_number
from study.trials import Group, TrialOutcome, best_of, groups

CONTROLS = ("rnn", "lstm")
"""Kinds of model whose loss must stay at or above ``STUCK`` times the baseline; nothing is asked of other baselines."""
STUCK = 0.9
"""A control whose loss stays at or above this share of the baseline has learned nothing."""


@dataclass(frozen=True)
class CopyMemory(Experiment):
    """The copy task at one length, and what every seed of the best spectral net must reach there.

    Attributes:
        ratio: Validation loss, as a share of the baseline, that must be reached.
        recall: Validation recall that must be reached at the same report.
        steps: Training steps within which it must be reached; None for any number.
        seconds: Seconds of training and scoring within which it must be reached; None for any time.
    """

    ratio: float = 0.05
    recall: float = 0.0
    steps: int | None = None
    seconds: float | None = None

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return one table with the loss as a share of the baseline, and the time to reach ``ratio``, of each model."""
        headings = (
            "model",
            "parameters (recurrent)",
            "steps",
            "seeds",
            "best loss / baseline",
            "recall",
            "test loss / baseline",
            f"steps to {self.ratio:g}x",
            f"seconds to {self.ratio:g}x",
            "seconds in all",
            "trained together",
        )
        return [ResultTable(headings, [self._row(group) for group in groups(trials)])]

    def _row(self, group: Group) -> list[str]:
        reached = [point for trial in group.trials if (point := self._reached(trial)) is not None]
        return [
            group.label,
            group.size,
            group.steps,
            group.seeds,
            format_mean(_ratios(group, "val/loss")),
            format_mean(group.values("val/recall"), percent=True),
            format_mean(_ratios(group, "test/loss")),
            format_mean([point.step for point in reached]) if reached else "never",
            format_mean([point.values.get("time/wall_s") or 0.0 for point in reached]) if reached else NONE,
            format_mean(group.seconds),
            group.pack_size,
        ]

    def _reached(self, trial: TrialOutcome) -> PointRecord | None:
        most = self.ratio * trial.spec.task.baseline

        def holds(point: PointRecord) -> bool:
            loss, recall = point.values.get("val/loss"), point.values.get("val/recall")
            return loss is not None and loss <= most and (recall or 0.0) >= self.recall

        return trial.first(holds)

    def _in_time(self, trial: TrialOutcome) -> bool:
        point = self._reached(trial)
        if point is None or (self.steps is not None and point.step > self.steps):
            return False
        return self.seconds is None or (point.values.get("time/wall_s") or 0.0) <= self.seconds

    @property
    def _asked(self) -> str:
        parts = [f"loss <= {self.ratio:g} x baseline"]
        parts += [f"recall >= {self.recall:.0%}"] if self.recall else []
        within = [f"{self.steps:,} steps"] if self.steps is not None else []
        within += [f"{self.seconds:.0f} s"] if self.seconds is not None else []
        return " and ".join(parts) + (f", within {' and '.join(within)}" if within else "") + ", every seed"

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return the bound on every seed of the best spectral net, and one bound on the trials of each control."""
        found = groups(trials)
        own = best_of(group for group in found if group.spectral)
        controls = [self._control(kind, [g for g in found if g.spec.model.kind == kind]) for kind in CONTROLS]
        return [self._own_bound(own), *controls]

    def _own_bound(self, own: Group | None) -> Bound:
        if own is None:
            return Bound("spectral", self._asked, NONE, None)
        done = [self._in_time(trial) for trial in own.trials]
        recall = f", recall {format_mean(own.values('val/recall'), percent=True)}" if self.recall else ""
        text = f"{sum(done)} of {len(done)} seeds; best {format_mean(_ratios(own, 'val/loss'))}{recall}"
        return Bound(own.label, self._asked, text, all(done))

    def _control(self, kind: str, found: Sequence[Group]) -> Bound:
        """Return the bound that no trial of a kind gets below ``STUCK`` times the baseline.

        It is met if every trial of the kind diverged before its first report.
        """
        ratios = [ratio for group in found for ratio in _ratios(group, "val/loss")]
        what = f"control: {kind} does not get below the baseline, every trial"
        if found and not ratios and all(trial.diverged for group in found for trial in group.trials):
            return Bound(what, f">= {STUCK:g} x baseline", "diverged before its first report", True)
        return at_least(what, min(ratios) if ratios else None, STUCK)

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return one figure: the validation loss, as a share of the baseline, over training steps."""
        figure, (axes,) = panels(1, width=7.5, height=5.2)
        for colour, group in coloured(groups(trials)):
            base = group.spec.task.baseline
            curves(
                axes,
                colour,
                group.label,
                [[(step, value / base) for step, value in t.curve("val/loss")] for t in group.trials],
            )
        axes.set_yscale("log")
        limit(axes, 1.0, "baseline")
        limit(axes, self.ratio, f"bound, {self.ratio:g}")
        finish(axes, self.title, "training step", "validation loss / baseline")
        return {self.name: figure}

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return one sentence with the baseline for each length of a sequence; none if there are no trials."""
        bases = sorted({(trial.spec.task.sequence_length, trial.spec.task.baseline) for trial in trials})
        return [f"Baseline for {length:,} steps: {format_number(base)} nats." for length, base in bases]


def _ratios(group: Group, key: str) -> list[float]:
    return [value / group.spec.task.baseline for value in group.values(key)]
