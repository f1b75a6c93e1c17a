"""MNIST read in 28, 112 and 784 steps, in order and permuted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from study.experiments.experiment import Experiment
from study.plots import coloured, curves, finish, panels, percent_of_errors
from study.tables import NONE, Bound, ResultTable, at_least, at_most, format_mean, format_number
from study.trials import Group, TrialOutcome, best_of, groups
from workers.tasks.mnist import PIXELS, VALIDATION, Mnist

TRAINED_ON = 60_000 - VALIDATION
RECURRENT = 13_000
"""Parameters of the published net. Ours may have as many in the recurrence; with 28 steps its inputs are wider."""


@dataclass(frozen=True)
class Asked:
    """The bounds for one way of reading.

    Attributes:
        accuracy: The least mean test accuracy over the seeds.
        seconds: The most seconds of training and scoring of any seed; None if there is no such bound.
    """

    accuracy: float
    seconds: float | None = None


@dataclass(frozen=True)
class MnistSteps(Experiment):
    """MNIST as a sequence; ``ASKED`` has the bounds by size, number of steps and order of the pixels."""

    ASKED: ClassVar[dict[tuple[str, int, str], Asked]] = {
        ("cpu", 28, "rows"): Asked(0.98),
        ("cpu", 112, "rows"): Asked(0.97, 1200),
        ("cpu", 112, "permuted"): Asked(0.93),
        ("full", 28, "rows"): Asked(0.98),
        ("full", 112, "rows"): Asked(0.97),
        ("full", 112, "permuted"): Asked(0.93),
        ("full", PIXELS, "rows"): Asked(0.98),
        ("full", PIXELS, "permuted"): Asked(0.95),
    }

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return one table with the accuracies of each number of steps, order of the pixels and model."""
        headings = (
            "steps a sequence",
            "model",
            "parameters (recurrent)",
            "epochs",
            "seeds",
            "validation accuracy",
            "test accuracy",
            "seconds in all",
            "trained together",
        )
        return [ResultTable(headings, [_row(group) for group in sorted(groups(trials), key=_reading)])]

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return the bounds of this size on accuracy, parameters and seconds of the best spectral nets."""
        found = groups(trials)
        wanted = [(steps, order, asked) for (own, steps, order), asked in self.ASKED.items() if own == size]
        return [bound for steps, order, asked in wanted for bound in self._bounds(steps, order, asked, found)]

    def _bounds(self, steps: int, order: str, asked: Asked, found: Sequence[Group]) -> list[Bound]:
        own = best_of(group for group in found if group.spectral and _reading(group) == (steps, order))
        what = _named(steps, order)
        if own is None:
            return [Bound(f"{what}, test accuracy", f">= {format_number(asked.accuracy, percent=True)}", NONE, None)]
        bounds = [
            at_least(
                f"{what}, test accuracy, mean of the seeds: {own.label}",
                own.mean("test/accuracy"),
                asked.accuracy,
                percent=True,
                also=own.complete,
            )
        ]
        if steps == 28:
            bounds.append(at_most(f"{what}, recurrent parameters", own.parameters.recurrent, RECURRENT))
        if asked.seconds is not None:
            bounds.append(at_most(f"{what}, seconds", max(own.seconds), asked.seconds))
        return bounds

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return one figure: the share of validation errors over training steps, a panel for each way of reading."""
        found = groups(trials)
        readings = sorted({_reading(group) for group in found}, key=lambda reading: (reading[0], reading[1] != "rows"))
        figure, all_axes = panels(len(readings), width=4.6, height=5.0)
        for axes, reading in zip(all_axes, readings, strict=False):
            for colour, group in coloured(group for group in found if _reading(group) == reading):
                errors = [[(step, 100 * (1 - v)) for step, v in t.curve("val/accuracy")] for t in group.trials]
                curves(axes, colour, group.label, errors)
            percent_of_errors(axes)
            finish(axes, f"MNIST, {_named(*reading)}", "training step", "validation error, %")
        return {self.name: figure}

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return a sentence on the time of an epoch for each spectral net that reads 784 steps."""
        found = [group for group in groups(trials) if group.spectral and _reading(group)[0] == PIXELS]
        return [
            f"{_named(*_reading(group))}: an epoch of {TRAINED_ON:,} images took "
            f"{format_number(max(group.seconds) / _epochs(group))} s, scoring included; epochs: {_epochs(group):.2g}; "
            f"{format_mean(group.values('test/accuracy'), percent=True)} of the test images were right."
            for group in found
        ]


def _row(group: Group) -> list[str]:
    return [
        _named(*_reading(group)),
        group.label,
        group.size,
        f"{_epochs(group):.2g}",
        group.seeds,
        format_mean(group.values("val/accuracy"), percent=True),
        format_mean(group.values("test/accuracy"), percent=True),
        format_mean(group.seconds),
        group.pack_size,
    ]


def _reading(group: Group) -> tuple[int, str]:
    task = group.spec.task
    assert isinstance(task, Mnist)
    return task.steps, task.order


def _named(steps: int, order: str) -> str:
    return f"{steps} steps" + (", permuted" if order == "permuted" else "")


def _epochs(group: Group) -> float:
    training = group.spec.training
    return training.steps * training.batch_size / TRAINED_ON
