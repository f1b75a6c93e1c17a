"""Our pruning rules decide as Optuna's pruners do, where the definitions agree. Each test says where they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PatientPruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)

from workers.spec.pruning_rules import PRUNING_RULES, Curve, PruningRule
from workers.spec.pruning_rules.hyperband import HyperbandRule
from workers.spec.ranking import Direction
from workers.spec.sweep import EarlyStoppingSpec
from workers.spec.trial import Objective

# of pruners that Optuna calls experimental
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

DIRECTIONS = st.sampled_from(["minimize", "maximize"])
DISTINCT = st.lists(st.integers(-1000, 1000), min_size=1, max_size=20, unique=True)


def rule(direction: Direction, steps: int, **options: object) -> PruningRule:
    spec = EarlyStoppingSpec.model_validate(options)
    return PRUNING_RULES[spec.kind](spec, Objective(metric="val/loss", direction=direction), steps)


@contextmanager
def study_with(pruner: BasePruner, direction: Direction) -> Iterator[optuna.Study]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield optuna.create_study(direction=direction, pruner=pruner)
    optuna.logging.set_verbosity(before)


def improving(last: float, reports: int, direction: Direction) -> Curve:
    """Return a curve that becomes better with each report, so that its newest value is its best."""
    sign = 1 if direction == "maximize" else -1
    return [(step, last - sign * (reports - step)) for step in range(1, reports + 1)]


def halved(
    pruner: SuccessiveHalvingPruner, ours: PruningRule, first: int, values: list[int], direction: Direction
) -> int:
    """Train trials one after another, and compare the decisions at the rungs; return how many were compared.

    The curves improve, because Optuna looks at the newest value, and ours at the best so far. Trials go on as ours
    decides. What is not compared:

    - The first trial at a rung: Optuna lets the best of fewer than ``reduction`` trials go on, and ours all of them.
    - Rungs above one at which a trial has fallen below the cut since it ended: ours does not count it above.
    """
    rungs = [rung for rung in (first, 2 * first, 4 * first, 8 * first) if rung < 16]
    curves: dict[int, Curve] = {}
    compared = 0

    def reached(rung: int) -> list[int]:
        """Return the trials that have reached a rung, the best first."""
        found = [trial for trial, curve in curves.items() if len(curve) >= rung]
        return sorted(found, key=lambda trial: values[trial], reverse=direction == "maximize")

    def stand(rung: int) -> bool:
        """Return whether every trial that has reached a rung, or one below it, is above the cuts below."""
        pairs = [(low, high) for low in rungs for high in rungs if low < high <= rung]
        return all(set(reached(high)) <= set(reached(low)[: len(reached(low)) // 2]) for low, high in pairs)

    with study_with(pruner, direction) as study:
        for number, last in enumerate(values):
            trial = study.ask()
            whole = improving(last * 100, 16, direction)
            for step, value in whole:
                trial.report(value, step)
                curves[number] = whole[:step]
                theirs = trial.should_prune()
                if step not in rungs:
                    continue
                decided = number in ours.to_prune(curves, {number})
                if len(reached(step)) >= 2 and stand(step):
                    assert decided == theirs
                    compared += 1
                if decided:
                    break
            study.tell(trial, values=curves[number][-1][1])
    return compared


@given(values=DISTINCT, direction=DIRECTIONS, first=st.sampled_from([1, 2, 5]))
def test_asha_decides_as_successive_halving(values: list[int], direction: Direction, first: int) -> None:
    pruner = SuccessiveHalvingPruner(min_resource=first, reduction_factor=2)
    ours = rule(direction, 16, kind="asha", min_steps=first, reduction=2)
    compared = halved(pruner, ours, first, values, direction)
    assert compared >= len(values) - 1


@given(values=DISTINCT, direction=DIRECTIONS, bracket=st.integers(0, 3))
def test_a_bracket_of_hyperband_decides_as_successive_halving_that_begins_later(
    values: list[int], direction: Direction, bracket: int
) -> None:
    """The brackets of Optuna's Hyperband are such pruners; which trial is in which bracket is chosen in another way."""
    hyperband = rule(direction, 16, kind="hyperband", min_steps=1, reduction=2)
    assert isinstance(hyperband, HyperbandRule)
    pruner = SuccessiveHalvingPruner(min_resource=1, reduction_factor=2, min_early_stopping_rate=bracket)
    numbers = [number for number in range(1000) if hyperband.bracket_of(number) == bracket][: len(values)]

    class OneBracket(HyperbandRule):
        def to_prune(self, curves: Mapping[int, Curve], running: Set[int]) -> dict[int, str]:
            renamed = {numbers[t]: curve for t, curve in curves.items()}
            found = super().to_prune(renamed, {numbers[t] for t in running})
            return {numbers.index(number): reason for number, reason in found.items()}

    options = EarlyStoppingSpec(kind="hyperband", min_steps=1, reduction=2)
    ours = OneBracket(options, hyperband.objective, 16)
    assert halved(pruner, ours, 2**bracket, values, direction) >= len(values) - 1


def test_hyperband_has_as_many_brackets_as_optunas() -> None:
    """They agree where the steps are ``min_steps`` times a power of ``reduction``, as in the paper."""
    for steps, first, reduction in ((81, 1, 3), (64, 1, 2), (27, 3, 3), (16, 8, 2)):
        pruner = HyperbandPruner(min_resource=first, max_resource=steps, reduction_factor=reduction)
        with study_with(pruner, "minimize") as study:
            trial = study.ask()
            trial.report(1.0, 1)
            trial.should_prune()
        hyperband = rule("minimize", steps, kind="hyperband", min_steps=first, reduction=reduction)
        assert isinstance(hyperband, HyperbandRule)
        assert hyperband.brackets == pruner._n_brackets


@given(
    values=st.lists(st.integers(-5, 5), min_size=4, max_size=12),
    direction=DIRECTIONS,
    step=st.integers(1, 20),
    first=st.integers(1, 10),
)
def test_the_median_rule_decides_as_optunas(values: list[int], direction: Direction, step: int, first: int) -> None:
    """They agree if all peers have ended, and each trial reports once: our peers count by their averages."""
    *peers, own = values
    pruner = MedianPruner(n_startup_trials=3, n_warmup_steps=first, n_min_trials=3)
    with study_with(pruner, direction) as study:
        for value in peers:
            trial = study.ask()
            trial.report(value, step)
            study.tell(trial, values=value)
        last = study.ask()
        last.report(own, step)
        theirs = last.should_prune()
    curves: dict[int, Curve] = {number: [(step, float(value))] for number, value in enumerate(values)}
    ours = rule(direction, 100, kind="median", min_steps=first)
    assert (len(peers) in ours.to_prune(curves, {len(peers)})) == theirs


@given(values=DISTINCT, direction=DIRECTIONS, patience=st.integers(1, 6))
def test_patience_decides_as_optunas(values: list[int], direction: Direction, patience: int) -> None:
    """They agree without ``min_delta`` if no two values are equal. Optuna counts the best report itself too."""
    curve = [(step, float(value)) for step, value in enumerate(values, 1)]
    ours = rule(direction, 100, kind="patience", min_steps=1, patience=patience)
    with study_with(PatientPruner(None, patience=patience - 1), direction) as study:
        trial = study.ask()
        for step, value in curve:
            trial.report(value, step)
            theirs = trial.should_prune()
            assert (0 in ours.to_prune({0: curve[:step]}, {0})) == theirs
            if theirs:
                break


@given(
    values=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, float("nan")]), min_size=1, max_size=8),
    direction=DIRECTIONS,
    first=st.integers(1, 6),
)
def test_the_threshold_rule_decides_as_optunas(values: list[float], direction: Direction, first: int) -> None:
    curve = list(enumerate(values, 1))
    bound = {"upper": 0.5} if direction == "minimize" else {"lower": 0.5}
    ours = rule(direction, 100, kind="threshold", min_steps=first, threshold=0.5)
    with study_with(ThresholdPruner(n_warmup_steps=first, **bound), direction) as study:
        trial = study.ask()
        for step, value in curve:
            trial.report(value, step)
            theirs = trial.should_prune()
            assert (0 in ours.to_prune({0: curve[:step]}, {0})) == theirs
            if theirs:
                break
