"""Every bound is met by histories that meet it, not met by those that do not, and open where nothing ran."""

from __future__ import annotations

import pytest

from study.experiments import EXPERIMENTS
from study.experiments.copy_memory import CONTROLS
from study.tables import Bound, at_least, at_most
from tests.study.examples import History, Values, history, trials
from workers.spec.trial import TrialSpec


def bounds(name: str, made: History) -> list[Bound]:
    return EXPERIMENTS[name].bounds(trials(name, made=made), "cpu")


def good(spec: TrialSpec) -> list[tuple[int, Values]] | None:
    """Spectral nets learn at once, the others nothing."""
    if spec.model.kind == "irnn":
        return None
    learned = history(spec, better=1e-3 if spec.model.spectral else 1.0, seconds=30.0)
    for _, values in learned:
        leaves = spec.model.kind == "lstm" or spec.model.band_margin * spec.depth > 1
        values["grad_t/15"] = values["grad_t/14"]
        values["grad_t/00"] = (1e-3 if leaves else 1.0) * values["grad_t/14"]
        for key in ("val/accuracy", "test/accuracy"):
            if key in values and not spec.model.spectral:
                values[key] = 0.1135
    return learned


def bad(spec: TrialSpec) -> list[tuple[int, Values]]:
    """Spectral nets learn too little and too late, the others everything."""
    learned = history(spec, better=0.9 if spec.model.spectral else 1e-3, seconds=1e5)
    for _, values in learned:
        small = spec.model.spectral and spec.model.band_margin * spec.depth <= 1
        values["grad_t/00"] = (1e-3 if small else 1.0) * values["grad_t/14"]
    return learned


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "phase"])
def test_bounds_are_met_by_what_meets_them(name: str) -> None:
    found = bounds(name, good)
    assert found
    assert [bound for bound in found if bound.met is not True] == []


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "phase"])
def test_bounds_are_not_met_by_what_does_not(name: str) -> None:
    found = bounds(name, bad)
    assert [bound for bound in found if bound.met is not False and "parameters" not in bound.what] == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_did_not_run_is_open(name: str) -> None:
    assert all(bound.met is None or name == "phase" for bound in EXPERIMENTS[name].bounds([], "cpu"))


def test_one_seed_too_late_is_enough_to_miss() -> None:
    def made(spec: TrialSpec) -> list[tuple[int, Values]] | None:
        return history(spec, better=1e-3, seconds=1e4) if spec.training.seed == 1 else good(spec)

    (own,) = [bound for bound in bounds("copy-500", made) if "every seed" in bound.asked]
    assert own.met is False
    assert own.found.startswith("2 of 3 seeds")


def test_a_control_that_learns_is_said() -> None:
    def made(spec: TrialSpec) -> list[tuple[int, Values]] | None:
        return history(spec, better=0.5) if spec.model.kind == "lstm" else good(spec)

    missed = [bound for bound in bounds("copy-500", made) if bound.met is False]
    assert [bound.what for bound in missed] == ["control: lstm does not get below the baseline, every trial"]


@pytest.mark.parametrize("name", ["mnist", "mlp", "ptb", "ucr"])
def test_a_mean_of_survivors_meets_nothing(name: str) -> None:
    def made(spec: TrialSpec) -> list[tuple[int, Values]] | None:
        return None if spec.model.kind.startswith("spectral_") and spec.training.seed == 1 else good(spec)

    assert any(bound.met is True for bound in bounds(name, good))
    others = ("recurrent parameters", "seconds", "resnet", "mlp stays")
    asked = [bound for bound in bounds(name, made) if not any(word in bound.what for word in others)]
    assert all(bound.met is not True for bound in asked)


def test_controls_and_tasks_that_did_not_run_are_not_measured() -> None:
    ours = [trial for trial in trials("copy-500", made=good) if trial.spectral]
    found = EXPERIMENTS["copy-500"].bounds(ours, "cpu")
    missing = [bound.what for bound in found if bound.met is None]
    assert missing == [f"control: {kind} does not get below the baseline, every trial" for kind in CONTROLS]
    characters = [t for t in trials("ptb", made=good) if t.spec.task.name == "ptb_char"]  # type: ignore[attr-defined]
    assert [b.met for b in EXPERIMENTS["ptb"].bounds(characters, "cpu")] == [True, None]
    three = [t for t in trials("ucr", made=good) if "OSULeaf" not in repr(t.spec.task)]
    assert all(b.met is None for b in EXPERIMENTS["ucr"].bounds(three, "cpu"))


def test_a_probe_whose_norms_are_not_finite_lies_outside() -> None:
    def made(spec: TrialSpec) -> list[tuple[int, Values]] | None:
        found = good(spec)
        if found is not None:
            found[1][1].pop("grad_t/14")  # what is not finite is not recorded
        return found

    own = {bound.found for bound in bounds("gradients", made) if "r <= 1/T" in bound.what}
    assert own == {"75.00 %"}


def test_language_models_of_unequal_size_do_not_count() -> None:
    found = [trial for trial in trials("ptb", made=good) if trial.spec.model.kind != "rnn"]
    plain = [trial for trial in trials("ptb", made=good) if trial.spec.model.kind == "lstm"]
    larger = plain[0].spec.model.model_copy(update={"kind": "rnn", "hidden_size": 400})
    found += [type(t)(**(vars(t) | {"spec": t.spec.model_copy(update={"model": larger})})) for t in plain]
    assert all(bound.met is False for bound in EXPERIMENTS["ptb"].bounds(found, "cpu"))


def test_a_value_on_the_bound_meets_it() -> None:
    assert at_most("x", 0.5, 0.5).met is True
    assert at_most("x", 0.51, 0.5).met is False
    assert at_least("x", 0.5, 0.5).met is True
    assert at_least("x", 0.49, 0.5).met is False
    assert at_least("x", None, 0.5).met is None
