"""Sentences on the fairness of a comparison: how often each kind was tried, and where a baseline wins."""

from __future__ import annotations

from study.fairness import fairness_sentences
from study.trials import best_of, groups
from tests.study.examples import Values, history, trials
from workers.spec.trial import TrialSpec


def made(spec: TrialSpec) -> list[tuple[int, Values]]:
    return history(spec, better=0.1 if spec.model.kind == "lstm" else 0.5)


def test_every_kind_is_counted() -> None:
    said = fairness_sentences(trials("copy-500"))[0]
    assert "spectral_rnn 1 setting of 1,000 steps, 3 seeds each" in said
    assert "lstm 1 setting of 800 steps, 1 seed each" in said


def test_a_baseline_that_wins_is_said_with_both_figures() -> None:
    found = trials("copy-500", made=made)
    (said,) = fairness_sentences(found)[1:]
    base = found[0].spec.task.baseline
    assert said.startswith("**copy, length 500**: lstm (n=64) does better than ours on val/loss, ")
    assert f"{0.1 * base:.3g} against {0.5 * base:.3g}" in said


def test_nothing_is_said_where_ours_is_best_or_alone() -> None:
    assert len(fairness_sentences(trials("copy-500"))) == 1
    assert fairness_sentences([trial for trial in trials("copy-500") if trial.spectral]) == []


def test_a_tie_is_no_loss() -> None:
    assert len(fairness_sentences(trials("copy-500", made=lambda spec: history(spec, better=0.5)))) == 1


def test_settings_that_tie_are_told_apart_by_their_loss() -> None:
    found = groups(
        trials("ucr", made=lambda spec: history(spec, better=0.1 if spec.model.nonlinearity == "modrelu" else 0.2))
    )
    for group in found:
        for trial in group.trials:
            for point in trial.points:
                point.values["val/accuracy"] = 1.0
    best = best_of(group for group in found if group.spec.model.kind == "ornn")
    assert best is not None
    assert best.spec.model.nonlinearity == "modrelu"
