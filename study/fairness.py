"""Sentences on the fairness of a comparison: how often each kind of model was tried, and where a baseline wins."""

from __future__ import annotations

from collections.abc import Sequence

from study.tables import format_number
from study.trials import Group, TrialOutcome, best_of, groups

TUNED = (
    "Settings were found by hand in short runs before these, those of the spectral nets with more care than the "
    "baselines'."
)


def fairness_sentences(trials: Sequence[TrialOutcome]) -> list[str]:
    """Return how many settings and seeds each kind of model had, then each task on which a baseline beats our nets.

    The list is empty if all trials have the same kind of model.
    """
    found = groups(trials)
    kinds = list(dict.fromkeys(group.spec.model.kind for group in found))
    if len(kinds) < 2:
        return []
    parts = [_effort(kind, [group for group in found if group.spec.model.kind == kind]) for kind in kinds]
    return [f"Settings and seeds: {'; '.join(parts)}. {TUNED}", *_beaten(found)]


def _effort(kind: str, own: Sequence[Group]) -> str:
    seeds = _range([len(group.trials) for group in own], "seed")
    steps = _range([group.spec.training.steps for group in own], "step")
    return f"{kind} {_count(len(own), 'setting')} of {steps}, {seeds} each"


def _range(values: Sequence[int], unit: str) -> str:
    low, high = min(values), max(values)
    return _count(low, unit) if low == high else f"{low:,} to {high:,} {unit}s"


def _count(number: int, unit: str) -> str:
    return f"{number:,} {unit}" + ("" if number == 1 else "s")


def _beaten(found: Sequence[Group]) -> list[str]:
    """Return a sentence for each task on which the best baseline has a better mean objective than our best net.

    Tasks without a baseline or without a spectral net, and ties, have no sentence.
    """
    sentences = []
    for task in dict.fromkeys(repr(group.spec.task) for group in found):
        own = [group for group in found if repr(group.spec.task) == task]
        ours = best_of(group for group in own if group.spectral)
        theirs = best_of(group for group in own if not group.spectral)
        if ours is None or theirs is None or best_of([ours, theirs]) is ours:
            continue
        metric = ours.spec.objective.metric
        if theirs.mean(metric) == ours.mean(metric):
            continue
        share = metric.endswith(("accuracy", "recall"))
        a, b = (format_number(group.mean(metric), share) for group in (theirs, ours))
        sentences.append(f"**{ours.task}**: {theirs.label} does better than ours on {metric}, {a} against {b}.")
    return sentences
