"""How sweeps are expanded, stopped, cancelled and ended."""

from __future__ import annotations

from typing import Any

import pytest

from service.controller import sweep_lifecycle
from service.store import sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from workers.protocol import divergence


@pytest.fixture
def settle(database: Database, term: int) -> Any:
    """A function that brings the trials to their states, applies a verb, settles the sweep and returns it."""

    def run(sweep: Sweep, states: list[str], verb: Any = None, objective: float | None = 0.5) -> Sweep:
        with database.write(term) as session:
            for number, state in enumerate(states):
                trial = session.get_one(Trial, f"{sweep.id}-{number:04d}")
                trial.objective = objective
                for step in () if state == "waiting" else ("running",) if state == "running" else ("running", state):
                    trials.move(session, trial, step, "because")  # type: ignore[arg-type]
        if verb:
            with database.write() as session:
                sweeps.apply(session, sweep.id, verb)
        with database.write(term) as session:
            sweep_lifecycle.settle(session, sweep.id)
        with database.read() as session:
            found = sweeps.get(session, sweep.id)
            assert not sweep_lifecycle.needs_settling(session, found)
            return found

    return run


@pytest.mark.parametrize(
    ("states", "verb", "expected"),
    [
        (["succeeded"] * 4, None, "succeeded"),
        (["succeeded", "failed", "failed", "cancelled"], None, "succeeded"),
        (["pruned"] * 4, None, "succeeded"),
        (["failed"] * 4, None, "failed"),
        (["succeeded", "running", "waiting", "waiting"], None, "running"),
        (["succeeded", "running", "waiting", "waiting"], "stop", "stopping"),
        (["succeeded", "succeeded", "waiting", "waiting"], "stop", "stopped"),
        (["succeeded", "succeeded", "waiting", "waiting"], "cancel", "cancelled"),
        (["succeeded", "running", "waiting", "waiting"], "cancel", "cancelling"),
        (["succeeded", "succeeded", "waiting", "waiting"], "pause", "paused"),
        (["succeeded"] * 4, "pause", "succeeded"),
    ],
)
def test_a_sweep_ends_as_its_trials_did(
    expanded: Any, settle: Any, states: list[str], verb: Any, expected: str
) -> None:
    sweep, _ = expanded()
    assert settle(sweep, states, verb).state == expected


def test_a_failed_sweep_names_the_cause(expanded: Any, settle: Any) -> None:
    sweep, _ = expanded()
    assert settle(sweep, ["failed"] * 4).reason == "no trial gave a result (4 failed); trial 0: because"


def test_pruned_without_a_result_is_no_success(expanded: Any, settle: Any) -> None:
    sweep, _ = expanded()
    assert settle(sweep, ["pruned"] * 4, objective=None).state == "failed"


@pytest.mark.parametrize("objective", [float("nan"), float("inf"), None])
def test_an_objective_that_is_not_finite_is_no_result(expanded: Any, settle: Any, objective: float | None) -> None:
    sweep, _ = expanded()
    assert settle(sweep, ["pruned"] * 4, objective=objective).state == "failed"


STEPS = (30, 20, 40, 20)


def fail_all(database: Database, term: int, sweep: Sweep, reasons: list[str]) -> Sweep:
    """End the trials as failed for their reasons, and settle and return their sweep."""
    with database.write(term) as session:
        for number, reason in enumerate(reasons):
            trial = session.get_one(Trial, f"{sweep.id}-{number:04d}")
            trial.objective = 0.5
            trials.move(session, trial, "running")
            trials.move(session, trial, "failed", reason)
        sweep_lifecycle.settle(session, sweep.id)
        return sweeps.get(session, sweep.id)


def test_a_sweep_whose_numbers_are_all_nan_says_so_and_names_the_first_step(
    database: Database, term: int, expanded: Any
) -> None:
    sweep, _ = expanded()
    values = (float("nan"), float("inf"), float("-inf"), float("nan"))
    reasons = [divergence("val/loss", value, step, "a hint") for value, step in zip(values, STEPS, strict=True)]
    reasons[3] += "; attempt 1 was the first to go wrong: its process was lost at step 5"
    ended = fail_all(database, term, sweep, reasons)
    assert (ended.state, ended.reason) == (
        "failed",
        "the numbers of all trials (4) became NaN or infinite, first at step 20: "
        "trial 1: val/loss was inf at step 20; a hint",
    )


def test_a_sweep_with_another_failure_does_not_say_that_all_numbers_are_nan(
    database: Database, term: int, expanded: Any
) -> None:
    sweep, _ = expanded()
    reasons = [divergence("val/loss", float("nan"), step, "a hint") for step in STEPS[:3]]
    ended = fail_all(database, term, sweep, [*reasons, "no such file at step 10;"])
    assert ended.state == "failed"
    assert "no trial gave a result (4 failed); trial 0: val/loss was nan at step 30" in str(ended.reason)


def test_expanding_twice_makes_each_trial_once(database: Database, term: int, expanded: Any, trials_of: Any) -> None:
    sweep, spec = expanded()
    with database.write(term) as session:
        sweep_lifecycle.expand(session, sweep.id, spec)
    assert [trial.number for trial in trials_of(sweep)] == [0, 1, 2, 3]


def test_a_sweep_stopped_before_it_began_ends_without_trials(database: Database, term: int, new_sweep: Any) -> None:
    sweep = new_sweep()
    with database.write(term) as session:
        sweeps.apply(session, sweep.id, "stop")
        sweep_lifecycle.settle(session, sweep.id)
        assert sweeps.get(session, sweep.id).state == "stopped"


@pytest.mark.parametrize("verb", [None, "pause", "stop", "cancel"])
def test_a_sweep_that_cannot_go_on_ends_with_its_reason(
    database: Database, term: int, expanded: Any, launched: Any, trials_of: Any, verb: Any
) -> None:
    sweep, spec = expanded()
    launched(sweep, spec, 0, 1)
    with database.write(term) as session:
        if verb:
            sweeps.apply(session, sweep.id, verb)
        sweep_lifecycle.fail(session, sweep.id, "its spec is broken")
        ended = sweeps.get(session, sweep.id)
        assert ended.state == {None: "failed", "pause": "failed", "stop": "stopped", "cancel": "cancelled"}[verb]
        assert ended.reason == "its spec is broken"
    assert {(trial.state, trial.reason) for trial in trials_of(sweep)} == {("failed", "its spec is broken")}
