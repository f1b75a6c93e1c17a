"""Pruning rules on tables of curves: which trials are pruned and which are kept, in both directions."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from workers.spec.pruning_rules import PRUNING_RULES, Curve, PruningRule
from workers.spec.pruning_rules.hyperband import HyperbandRule
from workers.spec.sweep import EarlyStoppingSpec
from workers.spec.trial import Objective

UP = Objective(metric="val/accuracy", direction="maximize")
DOWN = Objective(metric="val/loss", direction="minimize")
NAN, INF = float("nan"), float("inf")


def rule(kind: str, objective: Objective = UP, steps: int = 100, **options: Any) -> PruningRule:
    return PRUNING_RULES[kind](EarlyStoppingSpec(kind=kind, **options), objective, steps)


def asha(objective: Objective = UP, steps: int = 100, **options: Any) -> PruningRule:
    return rule("asha", objective, steps, **({"min_steps": 10, "reduction": 3} | options))


def median(objective: Objective = UP, steps: int = 100) -> PruningRule:
    return rule("median", objective, steps, min_steps=10)


def at(step: int, *values: float) -> dict[int, Curve]:
    return {i: [(step, value)] for i, value in enumerate(values)}


def curve(*values: float, every: int = 10) -> Curve:
    return [(every * i, value) for i, value in enumerate(values, 1)]


def test_asha_keeps_the_best_third_of_a_rung() -> None:
    curves = at(10, 0.1, 0.9, 0.5, 0.2, 0.8, 0.3)
    assert asha().to_prune(curves, set(curves)).keys() == {0, 2, 3, 5}


def test_asha_turns_with_the_direction() -> None:
    curves = at(10, 0.1, 0.9, 0.5)
    assert asha(DOWN).to_prune(curves, set(curves)).keys() == {1, 2}
    assert asha(UP).to_prune(curves, set(curves)).keys() == {0, 2}


def test_asha_waits_for_enough_trials_at_a_rung() -> None:
    curves = at(10, 0.1, 0.9)
    assert asha().to_prune(curves, set(curves)) == {}


def test_asha_leaves_trials_below_the_first_rung_alone() -> None:
    curves = at(9, 0.1, 0.9, 0.5)
    assert asha().to_prune(curves, set(curves)) == {}


def test_asha_judges_at_the_highest_rung_reached() -> None:
    curves = at(10, 0.5, 0.6, 0.7)
    curves[0].append((30, 0.9))
    assert asha().to_prune(curves, set(curves)).keys() == {1}


def test_asha_ranks_by_the_best_so_far_at_the_rung_and_by_nothing_later() -> None:
    early, late, middle = 0, 1, 2
    curves = {
        early: [(5, 0.9), (10, 0.1)],
        late: [(5, 0.1), (10, 0.2), (20, 0.95)],
        middle: [(5, 0.1), (10, 0.5)],
    }
    assert asha(steps=25).to_prune(curves, set(curves)).keys() == {late, middle}


def test_asha_never_prunes_what_has_done_all_its_steps() -> None:
    curves = {**at(10, 0.1, 0.9, 0.5), 0: [(10, 0.1), (25, 0.1)]}
    assert 0 not in asha(steps=25).to_prune(curves, set(curves))


def test_asha_keeps_equals() -> None:
    curves = at(10, 0.5, 0.5, 0.5)
    assert asha().to_prune(curves, set(curves)) == {}


def test_asha_counts_ended_trials_as_peers_and_prunes_only_running_ones() -> None:
    curves = at(10, 0.1, 0.9, 0.5)
    assert asha().to_prune(curves, {0}).keys() == {0}


def test_asha_does_not_count_above_what_was_ended_below() -> None:
    """Trial 3 had reached the second rung before the command to end it arrived; it must not push others out there."""
    curves = {
        0: [(10, 0.5), (20, 0.4)],
        1: [(10, 0.6), (20, 0.35)],
        2: [(10, 0.9)],
        3: [(10, 0.8), (20, 0.1)],
    }
    assert asha(DOWN, reduction=2).to_prune(curves, {0, 1}).keys() == {0}
    assert asha(DOWN, reduction=2).to_prune(curves, {0, 1, 3}).keys() == {0, 1}


def test_median_prunes_what_is_worse_than_the_middle() -> None:
    curves = at(10, 0.1, 0.5, 0.6, 0.7)
    assert median(UP).to_prune(curves, set(curves)).keys() == {0, 1}
    assert median(DOWN).to_prune(curves, set(curves)).keys() == {2, 3}


def test_median_compares_the_best_so_far_with_averages() -> None:
    curves = at(20, 0.5, 0.6, 0.7)
    curves[9] = [(10, 0.65), (20, 0.1)]
    assert median().to_prune(curves, {9}) == {}


@pytest.mark.parametrize("step", [9, 100])
def test_median_leaves_the_first_and_the_last_steps_alone(step: int) -> None:
    curves = at(step, 0.1, 0.5, 0.6, 0.7)
    assert median().to_prune(curves, set(curves)) == {}


def test_median_needs_three_peers_at_the_step() -> None:
    curves = at(20, 0.5, 0.6)
    curves |= {2: [(10, 0.9)], 3: [(20, 0.1)]}
    assert median().to_prune(curves, {3}) == {}
    curves[2].append((20, 0.9))
    assert median().to_prune(curves, {3}).keys() == {3}


def test_median_takes_sums_that_are_not_finite() -> None:
    curves = {i: [(5, -1.5e308), (10, -1.5e308)] for i in range(3)} | {3: curve(-1.6e308)}
    assert median().to_prune(curves, {3}).keys() == {3}


PATIENT = {"min_steps": 10, "patience": 2}


def test_patience_prunes_what_has_not_improved_in_so_many_reports() -> None:
    flat = {0: curve(0.5, 0.5, 0.4)}
    assert rule("patience", **PATIENT).to_prune(flat, {0}).keys() == {0}
    assert rule("patience", min_steps=10, patience=3).to_prune(flat, {0}) == {}
    assert rule("patience", DOWN, **PATIENT).to_prune(flat, {0}) == {}
    assert rule("patience", DOWN, **PATIENT).to_prune({0: curve(0.5, 0.5, 0.6)}, {0}).keys() == {0}


def test_patience_begins_anew_with_each_improvement() -> None:
    assert rule("patience", **PATIENT).to_prune({0: curve(0.5, 0.4, 0.6, 0.6, 0.7, 0.1)}, {0}) == {}


def test_patience_adds_up_small_improvements_until_they_count() -> None:
    slow = {0: curve(0.50, 0.54, 0.58, 0.62)}
    assert rule("patience", **PATIENT, min_delta=0.05).to_prune(slow, {0}) == {}
    assert rule("patience", **PATIENT, min_delta=0.1).to_prune(slow, {0}).keys() == {0}


def test_patience_answers_the_same_when_a_later_report_has_come_too() -> None:
    curves = {0: curve(0.5, 0.4, 0.4)}
    reason = rule("patience", **PATIENT).to_prune(curves, {0})[0]
    curves[0].append((40, 0.9))
    assert rule("patience", **PATIENT).to_prune(curves, {0}) == {0: reason}
    assert "has not improved on 0.5 of step 10 in 2 reports, by step 30" in reason


def test_patience_ends_no_trial_before_min_steps_and_none_at_its_end() -> None:
    flat = {0: curve(0.5, 0.5, 0.5, 0.5)}
    assert rule("patience", min_steps=50, patience=2).to_prune(flat, {0}) == {}
    assert rule("patience", min_steps=40, patience=2).to_prune(flat, {0}).keys() == {0}
    assert rule("patience", steps=40, **PATIENT).to_prune(flat, {0}) == {}


def test_threshold_prunes_what_is_worse_than_the_bound_from_min_steps_on() -> None:
    bound: dict[str, Any] = {"min_steps": 20, "threshold": 0.5}
    assert rule("threshold", **bound).to_prune({0: curve(0.4, 0.5)}, {0}) == {}
    assert rule("threshold", **bound).to_prune({0: curve(0.6, 0.49)}, {0}).keys() == {0}
    assert rule("threshold", DOWN, **bound).to_prune({0: curve(0.6, 0.49)}, {0}) == {}
    assert rule("threshold", DOWN, **bound).to_prune({0: curve(0.4, 0.51, 0.3)}, {0}).keys() == {0}
    assert rule("threshold", steps=20, **bound).to_prune({0: curve(0.6, 0.49)}, {0}) == {}


def test_hyperband_compares_trials_of_one_bracket_alone() -> None:
    hyperband = rule("hyperband", min_steps=10, reduction=2, brackets=2)
    assert isinstance(hyperband, HyperbandRule)
    groups = [[t for t in range(40) if hyperband.bracket_of(t) == b] for b in range(2)]
    curves = {t: curve(float(t)) for t in range(40)}
    found = hyperband.to_prune(curves, set(curves))
    # the second bracket has its first rung at step 20
    assert found.keys() == set(groups[0][: len(groups[0]) - len(groups[0]) // 2])
    curves = {t: curve(float(t), float(t)) for t in groups[1]}
    assert hyperband.to_prune(curves, set(curves)).keys() == set(groups[1][: len(groups[1]) - len(groups[1]) // 2])
    assert "hyperband, bracket 1" in hyperband.to_prune(curves, set(curves))[groups[1][0]]


@pytest.mark.parametrize(
    ("steps", "min_steps", "reduction", "brackets"), [(81, 1, 3, 5), (64, 8, 2, 4), (100, 13, 3, 3)]
)
def test_hyperband_has_one_bracket_more_than_rungs_and_shares_as_in_the_paper(
    steps: int, min_steps: int, reduction: int, brackets: int
) -> None:
    hyperband = rule("hyperband", steps=steps, min_steps=min_steps, reduction=reduction)
    assert isinstance(hyperband, HyperbandRule)
    assert hyperband.brackets == brackets == len(hyperband.rungs) + 1
    weights = [reduction**s / (s + 1) for s in reversed(range(brackets))]
    for first in (0, 777):
        drawn = [hyperband.bracket_of(number) for number in range(first, first + 300)]
        for bracket, weight in enumerate(weights):
            assert abs(drawn.count(bracket) - 300 * weight / sum(weights)) < 4
    # the last bracket ends no trial
    last = [number for number in range(300) if hyperband.bracket_of(number) == brackets - 1]
    curves = {t: [(steps - 1, float(t))] for t in last}
    assert hyperband.to_prune(curves, set(curves)) == {}


@pytest.mark.parametrize("kind", PRUNING_RULES)
@pytest.mark.parametrize("objective", [UP, DOWN], ids=["maximize", "minimize"])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_is_worse_than_everything(kind: str, objective: Objective, bad: float) -> None:
    options = {"threshold": {"threshold": -1e308 if objective is UP else 1e308}, "patience": {"patience": 2}}
    judge = rule(kind, objective, min_steps=10, **options.get(kind, {}))
    curves = {t: curve(1e30 if t % 2 else -1e30, 0.0, 1.0, 2.0) for t in range(40)}
    worse = {t: curve(bad, bad, bad, bad) for t in range(40, 60)}
    found = judge.to_prune(curves | worse, set(worse))
    if kind == "hyperband":
        assert isinstance(judge, HyperbandRule)
        worse = {t: values for t, values in worse.items() if judge.bracket_of(t) < 2}  # others begin later
    assert found.keys() == worse.keys()
    assert all("not finite" in reason for reason in found.values())


@pytest.mark.parametrize("kind", ["asha", "hyperband", "median"])
def test_trials_that_all_are_not_finite_are_equals(kind: str) -> None:
    curves = at(50, *[NAN, INF, -INF] * 10)
    assert rule(kind, min_steps=10).to_prune(curves, set(curves)) == {}


@pytest.mark.parametrize("kind", PRUNING_RULES)
def test_min_steps_is_an_eighth_by_default(kind: str) -> None:
    judge = rule(kind, steps=96, **({"threshold": 1.0} if kind == "threshold" else {}))
    assert judge.min_steps == 12
    assert rule(kind, steps=3, **({"threshold": 1.0} if kind == "threshold" else {})).min_steps == 1


VALUES = st.sampled_from([NAN, INF, -INF, 0.0, 0.25, 0.5, 0.75, 1.0, 1e30, -1e30])


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[int, Curve], set[int]]:
    """Return curves that report every 5 steps of 40, of trials that are anywhere, and which of them run."""
    drawn = draw(st.dictionaries(st.integers(0, 30), st.lists(VALUES, min_size=1, max_size=8), max_size=14))
    curves = {trial: curve(*values, every=5) for trial, values in drawn.items()}
    return curves, set(draw(st.lists(st.sampled_from([*curves, 99]), unique=True)))


@pytest.mark.parametrize("kind", PRUNING_RULES)
@pytest.mark.parametrize("objective", [UP, DOWN], ids=["maximize", "minimize"])
@given(table=tables())
def test_the_laws_of_every_rule(kind: str, objective: Objective, table: tuple[dict[int, Curve], set[int]]) -> None:
    """Only running trials end, none before min_steps, none at its end; order and time change no answer."""
    curves, running = table
    judge = rule(kind, objective, 40, min_steps=10, **({"threshold": 0.5} if kind == "threshold" else {}))
    found = judge.to_prune(curves, running)
    assert found.keys() <= running & curves.keys()
    assert all(10 <= curves[trial][-1][0] < 40 for trial in found)
    assert judge.to_prune(dict(reversed(curves.items())), running) == found
    mirrored = UP if objective is DOWN else DOWN
    turned = {trial: [(step, -value) for step, value in values] for trial, values in curves.items()}
    options = {"threshold": -0.5} if kind == "threshold" else {}
    assert rule(kind, mirrored, 40, min_steps=10, **options).to_prune(turned, running).keys() == found.keys()


def oracle(kind: str, curves: dict[int, Curve], running: set[int], steps: int, first: int) -> set[int]:
    """Return whom a rule prunes of curves of greater-is-better values, straight from its definition."""

    def good(value: float) -> float:
        return value if abs(value) < INF else -INF

    def seen(trial: int, until: int) -> list[float]:
        return [good(value) for step, value in curves[trial] if step <= until]

    def ended(trial: int) -> bool:
        return any(step >= steps for step, _ in curves[trial])

    judged = {trial for trial in running & curves.keys() if not ended(trial)}
    if kind == "asha":
        alive, found = set(curves), set()
        for rung in range(first, steps):
            if rung not in {first * 3**k for k in range(20)}:
                continue
            here = {t: next((s for s, _ in curves[t] if s >= rung), None) for t in alive}
            scores = {t: max(seen(t, s)) for t, s in here.items() if s is not None}
            best = sorted(scores.values(), reverse=True)[: len(scores) // 3]
            below = {t for t, score in scores.items() if best and score < min(best) and not ended(t)}
            alive -= below - running
            found = (found - scores.keys()) | (below & judged)
        return found
    if kind == "median":
        found = set()
        for trial in judged:
            last = curves[trial][-1][0]
            others = [t for t in curves if t != trial and curves[t][-1][0] >= last]
            means = sorted(math.fsum(seen(t, last)) / len(seen(t, last)) for t in others)
            if last >= first and len(means) >= 3:
                half = len(means) // 2
                middle = means[half] if len(means) % 2 else (means[half - 1] + means[half]) / 2
                found |= {trial} if max(seen(trial, last)) < middle else set()
        return found
    if kind == "patience":
        return {
            t
            for t in judged
            if any(
                # the five reports up to this one are no better than the best before them
                i >= 5
                and curves[t][i][0] >= first
                and max(seen(t, curves[t][i][0])[i - 4 :]) <= max(seen(t, curves[t][i - 5][0]))
                for i in range(len(curves[t]))
            )
        }
    return {t for t in judged if any(step >= first and good(value) < 0.5 for step, value in curves[t])}


@pytest.mark.parametrize("kind", ["asha", "median", "patience", "threshold"])
@given(table=tables(), first=st.sampled_from([1, 5, 7, 10, 33]))
def test_every_rule_agrees_with_its_definition(kind: str, table: tuple[dict[int, Curve], set[int]], first: int) -> None:
    curves, running = table
    judge = rule(kind, UP, 40, min_steps=first, **({"threshold": 0.5} if kind == "threshold" else {}))
    assert judge.to_prune(curves, running).keys() == oracle(kind, curves, running, 40, first)


@pytest.mark.parametrize("kind", PRUNING_RULES)
def test_the_schema_of_a_rule_accepts_what_the_rule_accepts(kind: str) -> None:
    validator = Draft202012Validator(PRUNING_RULES[kind].json_schema(kind))
    given: dict[str, Any] = {
        name: 0.5 if name in ("threshold", "min_delta") else 2 for name in PRUNING_RULES[kind].options
    }
    every = {"min_steps": 2, "reduction": 2, "brackets": 2, "patience": 2, "min_delta": 0.5, "threshold": 0.5}
    tries = [given | {"kind": kind}, {"kind": kind}, {"kind": kind, "threshold": 0.5}]
    tries += [given | {"kind": kind, name: value} for name, value in every.items()]
    tries += [given | {"kind": kind, "min_steps": 0}, given | {"kind": kind, "threshold": None}]
    accepted = 0
    for document in tries:
        try:
            EarlyStoppingSpec.model_validate(document)
        except ValidationError:
            valid = False
        else:
            # earlier releases let the rule median have a reduction
            valid = kind != "median" or document.get("reduction") is None
        accepted += valid
        assert validator.is_valid(document) == (valid and document.get("threshold", 0) is not None), document
    assert 0 < accepted < len(tries)
