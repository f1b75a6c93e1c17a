"""The phase diagram: which margins, reflector counts, activations and starts train on copy and adding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from study.experiments import hypotheses, phase_plots
from study.experiments.experiment import Experiment
from study.experiments.phase_points import SUCCESS, PhasePoint, points_of, together
from study.statistics import wilson
from study.tables import Bound, ResultTable, at_least, shown
from study.trials import TrialOutcome

ENOUGH = 300
"""Trials asked of the diagram."""
SUCCEEDED = (
    f"A trial succeeds whose best validation loss is at most {SUCCESS:g} of the baseline; T is the whole sequence."
)


@dataclass(frozen=True)
class PhaseDiagram(Experiment):
    def tables(self, trials: Sequence[TrialOutcome]) -> list[ResultTable]:
        points = points_of(trials)
        stable = [point for point in points if point.r_t <= hypotheses.SAFE]
        margins = _shares(
            points, f"{SUCCEEDED} By r T, over all reflector counts, activations and starts.",
            ("task", "T", "r T"), lambda p: (p.task, f"{p.length}", shown(p.r_t)),
        )  # fmt: skip
        counts = _shares(
            sorted(stable, key=lambda p: (p.task, p.activation, p.filling)),
            f"By reflectors where r T <= {hypotheses.SAFE:g}, over lengths and starts.",
            ("task", "activation", "(m1 + m2) / n"), lambda p: (p.task, p.activation, shown(p.filling)),
        )  # fmt: skip
        return [margins, counts]

    def bounds(self, trials: Sequence[TrialOutcome], size: str) -> list[Bound]:
        return [at_least("trials in the diagram", len(points_of(trials)) or None, ENOUGH)]

    def plots(self, trials: Sequence[TrialOutcome]) -> dict[str, Figure]:
        points = points_of(trials)
        by_task = together(points, lambda p: p.task).items()
        diagrams = {f"{self.name}-{task}": phase_plots.diagram(own) for task, own in by_task}
        return diagrams | {f"{self.name}-edge": phase_plots.edge(points)}

    def conclusions(self, trials: Sequence[TrialOutcome], size: str) -> list[str]:
        points = points_of(trials)
        found = [sentence for own in together(points, lambda p: p.task).values() for sentence in hypotheses.edge(own)]
        return [*_trained(trials), *found, *hypotheses.reflectors(points), *hypotheses.advice(points)]


def _trained(trials: Sequence[TrialOutcome]) -> list[str]:
    """How the trials of each task and length were trained, in a line."""
    said: dict[str, set[int]] = {}
    for trial in trials:
        training = trial.spec.training
        what = (
            f"{trial.spec.task.model_dump()['name']}, T = {trial.spec.task.sequence_length}: "
            f"n = {trial.spec.model.hidden_size}, {training.steps:,} steps of {training.optimizer} at {training.lr:g}"
        )
        said.setdefault(what, set()).add(training.seed)
    return ["; ".join(f"{what}, {len(seeds)} seed(s) a setting" for what, seeds in sorted(said.items())) + "."]


def _shares(
    points: Sequence[PhasePoint], caption: str, headings: Sequence[str], key: Callable[[PhasePoint], tuple[str, ...]]
) -> ResultTable:
    rows = []
    for names, own in together(points, key).items():
        successes = sum(point.success for point in own)
        low, high = wilson(successes, len(own))
        rows.append([*names, f"{successes} of {len(own)}", f"{successes / len(own):.0%}", f"{low:.0%} to {high:.0%}"])
    return ResultTable((*headings, "successes", "share", "95 % (Wilson)"), rows, caption)
