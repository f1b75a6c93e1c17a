"""The phase diagram: which margins, reflector counts, activations and starts train on copy and adding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from study.experiments import hypotheses, phase_plots
from study.experiments.experiment import Experiment
from study.experiments.phase_points import SUCCESS, PhasePoint, group_by, points_of
from study.statistics import wilson
from study.tables import Bound, ResultTable, at_least, format_number
from study.trials import TrialOutcome

ENOUGH = 300
"""Least number of trials in the diagram, cancelled and lost ones not counted."""
SUCCEEDED = (
    f"A trial succeeds whose best validation loss is at most {SUCCESS:g} of the baseline; T is the whole sequence."
)


@dataclass(frozen=True)
class PhaseDiagram(Experiment):
    """The phase diagram of short trials over margins, reflectors, activations and starts."""

    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        """Return two tables of shares of success: by task, length and r T; by task, activation and reflectors."""
        points = points_of(trials)
        stable = [point for point in points if point.r_t <= hypotheses.SAFE]
        margins = _shares(
            points,
            f"{SUCCEEDED} By r T, over all reflector counts, activations and starts.",
            ("task", "T", "r T"),
            lambda p: (p.task, f"{p.length}", format_number(p.r_t)),
        )
        counts = _shares(
            sorted(stable, key=lambda p: (p.task, p.activation, p.filling)),
            f"By reflectors where r T <= {hypotheses.SAFE:g}, over lengths and starts.",
            ("task", "activation", "(m1 + m2) / n"),
            lambda p: (p.task, p.activation, format_number(p.filling)),
        )
        return [margins, counts]

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        """Return one bound: at least ``ENOUGH`` trials are in the diagram."""
        return [at_least("trials in the diagram", len(points_of(trials)) or None, ENOUGH)]

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        """Return a figure with the heatmaps of each task, and one with the share of successes over r T and over r."""
        points = points_of(trials)
        by_task = group_by(points, lambda p: p.task).items()
        diagrams = {f"{self.name}-{task}": phase_plots.diagram(own) for task, own in by_task}
        return diagrams | {f"{self.name}-edge": phase_plots.edge(points)}

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        """Return sentences on how the trials were trained, on H1, on H2, and on the settings that succeed most."""
        points = points_of(trials)
        found = [sentence for own in group_by(points, lambda p: p.task).values() for sentence in hypotheses.edge(own)]
        return [*_trained(trials), *found, *hypotheses.reflectors(points), *hypotheses.advice(points)]


def _trained(trials: Sequence[TrialOutcome]) -> list[str]:
    """Return one sentence with the width, steps, optimiser, rate and number of seeds for each task and length."""
    found: dict[str, set[int]] = {}
    for trial in trials:
        training = trial.spec.training
        what = (
            f"{trial.spec.task.model_dump()['name']}, T = {trial.spec.task.sequence_length}: "
            f"n = {trial.spec.model.hidden_size}, {training.steps:,} steps of {training.optimizer} at {training.lr:g}"
        )
        found.setdefault(what, set()).add(training.seed)
    return ["; ".join(f"{what}, {len(seeds)} seed(s) a setting" for what, seeds in sorted(found.items())) + "."]


def _shares(
    points: Sequence[PhasePoint], caption: str, headings: Sequence[str], key: Callable[[PhasePoint], tuple[str, ...]]
) -> ResultTable:
    rows = []
    for names, own in group_by(points, key).items():
        successes = sum(point.success for point in own)
        low, high = wilson(successes, len(own))
        rows.append([*names, f"{successes} of {len(own)}", f"{successes / len(own):.0%}", f"{low:.0%} to {high:.0%}"])
    return ResultTable((*headings, "successes", "share", "95 % (Wilson)"), rows, caption)
