"""The oracle finds each way in which a sweep can end wrongly, and nothing wrong with one that ended well."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.oracle import ALL_STEPS, TOLERANCE, Allowed, judge
from tests.faults.outcome import AttemptOutcome, RunOutcome, SweepOutcome, TrialOutcome

CLOCKED = "time/step"


def trial(number: int, pack: tuple[int, ...] = (0, 1), outcomes: tuple[str, ...] = ("succeeded",)) -> TrialOutcome:
    values = {step: {"train/loss": 1.0 / step + number} for step in ALL_STEPS}
    points = Counter((key, step, value) for step, found in values.items() for key, value in found.items())
    points += Counter((CLOCKED, step, 0.1 * step) for step in ALL_STEPS)
    attempts = tuple(AttemptOutcome(outcome, 0, pack) for outcome in outcomes)
    return TrialOutcome(number, {"model.margin": 0.1 * number}, "succeeded", None, 0, 0, values, points, attempts)


def sweep(**changes: Any) -> SweepOutcome:
    trials = changes.pop("trials", (trial(0), trial(1)))
    whole = SweepOutcome(
        "succeeded",
        None,
        trials,
        event_seqs=tuple(range(1, 30)),
        read_seqs=tuple(range(1, 30)),
        parents=(RunOutcome("FINISHED", Counter()),),
        runs={found.number: (RunOutcome("FINISHED", found.points),) for found in trials},
    )
    return replace(whole, **changes)


def with_trial(**changes: Any) -> SweepOutcome:
    """A sweep whose trial 1 is changed, in MLflow too."""
    return sweep(trials=(trial(0), replace(trial(1), **changes)))


def found(outcome: SweepOutcome, allowed: Allowed | None = None) -> list[tuple[str, str]]:
    return [(violation.kind, violation.text) for violation in judge(outcome, sweep(), allowed or Allowed())]


def test_nothing_is_wrong_with_a_sweep_that_ended_well() -> None:
    assert found(sweep(), Allowed(spares_runners=True)) == []


def test_a_repeated_attempt_is_no_fault_where_a_runner_was_hit() -> None:
    again = sweep(trials=(trial(0, outcomes=("lost", "succeeded")), trial(1, outcomes=("lost", "succeeded"))))
    assert found(again, Allowed(charges=1)) == []


def test_a_trial_of_a_halved_pack_may_differ_by_rounding() -> None:
    alone = trial(1, pack=(1,))
    values = {step: {key: value + 1e-9 for key, value in at.items()} for step, at in alone.values.items()}
    points = Counter((key, step, value) for step, at in values.items() for key, value in at.items())
    outcome = sweep(trials=(trial(0), replace(alone, values=values, points=points)))
    assert found(outcome) == []


def test_a_cancelled_sweep_ends_with_what_it_had() -> None:
    had = {step: values for step, values in trial(1).values.items() if step <= ALL_STEPS[4]}
    points = Counter((key, step, value) for step, at in had.items() for key, value in at.items())
    cut = replace(trial(1, outcomes=("cancelled",)), state="cancelled", values=had, points=points)
    outcome = sweep(
        state="cancelled",
        trials=(trial(0), cut),
        parents=(RunOutcome("KILLED", Counter()),),
        runs={0: (RunOutcome("FINISHED", trial(0).points),), 1: (RunOutcome("KILLED", points),)},
    )
    assert found(outcome, Allowed(verb="cancel")) == []


def without_step(step: int) -> dict[int, dict[str, float]]:
    return {at: values for at, values in trial(1).values.items() if at != step}


def runs(*of_trial_1: RunOutcome) -> dict[int, tuple[RunOutcome, ...]]:
    return {0: (RunOutcome("FINISHED", trial(0).points),), 1: of_trial_1}


FINISHED = RunOutcome("FINISHED", trial(1).points)
ONE_POINT = Counter({("train/loss", ALL_STEPS[0], 1.0 / ALL_STEPS[0] + 1): 1})
OTHER = {step: {"train/loss": values["train/loss"] + 1e-12} for step, values in trial(1).values.items()}
FAR = {step: {"train/loss": values["train/loss"] + 10 * TOLERANCE} for step, values in trial(1).values.items()}

PLANTED: dict[str, tuple[Callable[[], SweepOutcome], Allowed, str, str]] = {
    "does not end": (lambda: sweep(state="running"), Allowed(), "stuck", "does not end"),
    "failed": (lambda: sweep(state="failed"), Allowed(), "wrong", "ended as failed"),
    "goes on though cancelled": (sweep, Allowed(verb="cancel"), "wrong", "ended as succeeded after cancel"),
    "two sweeps of one key": (lambda: sweep(sweeps_of_key=2), Allowed(), "doubled", "made 2 sweeps"),
    "no sweep of a key": (lambda: sweep(sweeps_of_key=0), Allowed(), "lost", "made 0 sweeps"),
    "a trial too few": (lambda: sweep(trials=(trial(0),)), Allowed(), "lost", "of 2"),
    "a trial twice": (lambda: sweep(trials=(trial(0), trial(1), trial(1))), Allowed(), "doubled", "made twice"),
    "another proposal": (lambda: with_trial(params={"model.margin": 0.7}), Allowed(), "wrong", "has {'model.margin'"),
    "a killed trial is failed": (lambda: with_trial(state="failed"), Allowed(), "wrong", "ended as failed"),
    "a report is missing": (lambda: with_trial(values=without_step(50)), Allowed(), "lost", "[50]"),
    "a report of no step": (
        lambda: with_trial(values=trial(1).values | {7: {"train/loss": 0.0}}),
        Allowed(),
        "wrong",
        "[7]",
    ),
    "the user is charged": (lambda: with_trial(user_failures=1), Allowed(charges=9), "wrong", "of the user's"),
    "the machine is charged": (lambda: with_trial(infrastructure_failures=2), Allowed(charges=1), "wrong", "not 1"),
    "a runner that nobody hit": (
        lambda: sweep(trials=(trial(0), trial(1, outcomes=("lost", "succeeded")))),
        Allowed(spares_runners=True),
        "wrong",
        "2 attempts",
    ),
    "other bits": (lambda: with_trial(values=OTHER), Allowed(), "wrong", "in the same pack"),
    "far away": (
        lambda: sweep(trials=(trial(0), replace(trial(1, pack=(1,)), values=FAR))),
        Allowed(),
        "wrong",
        "another make-up",
    ),
    "an event is missing": (
        lambda: sweep(event_seqs=(1, 2, 4), read_seqs=(1, 2, 4)),
        Allowed(),
        "lost",
        "the table lacks the events [3]",
    ),
    "an event is not read": (
        lambda: sweep(read_seqs=tuple(range(1, 29))),
        Allowed(),
        "lost",
        "the reader lacks the events [29]",
    ),
    "an event is read twice": (
        lambda: sweep(read_seqs=(*range(1, 10), *range(9, 30))),
        Allowed(),
        "doubled",
        "the reader has the events [9]",
    ),
    "no run": (lambda: sweep(runs=runs()), Allowed(), "lost", "no run of trial 1"),
    "two runs": (lambda: sweep(runs=runs(FINISHED, FINISHED)), Allowed(), "doubled", "2 runs of trial 1"),
    "a run that nobody knows": (
        lambda: sweep(runs=runs(FINISHED) | {-1: (RunOutcome("RUNNING", Counter()),)}),
        Allowed(),
        "doubled",
        "cannot name",
    ),
    "a ghost": (
        lambda: sweep(runs=runs(RunOutcome("RUNNING", trial(1).points))),
        Allowed(),
        "stuck",
        "trial 1 as RUNNING",
    ),
    "another status": (
        lambda: sweep(parents=(RunOutcome("FAILED", Counter()),)),
        Allowed(),
        "wrong",
        "the sweep as FAILED",
    ),
    "a point is missing": (
        lambda: sweep(runs=runs(RunOutcome("FINISHED", trial(1).points - ONE_POINT))),
        Allowed(),
        "lost",
        "lacks 1 points",
    ),
    "a point is doubled": (
        lambda: sweep(runs=runs(RunOutcome("FINISHED", trial(1).points + ONE_POINT))),
        Allowed(),
        "doubled",
        "1 points too many",
    ),
    "the outbox is not empty": (lambda: sweep(unwritten=3), Allowed(), "stuck", "3 entries"),
    "went back too far": (lambda: sweep(again=(("a-1", 40),)), Allowed(), "wrong", "checkpoint of step 40"),
    "a half checkpoint": (lambda: sweep(half=("a/a-1/step-000000040",)), Allowed(), "stuck", "half checkpoint"),
    "an orphan": (lambda: sweep(orphans=("12 ray::PackRunner",)), Allowed(), "stuck", "nobody needs"),
    "not ready": (lambda: sweep(ready=False), Allowed(), "stuck", "not ready"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name: str) -> None:
    plant, allowed, kind, words = PLANTED[name]
    assert [text for found_kind, text in found(plant(), allowed) if found_kind == kind and words in text]
