"""How sweeps are expanded, stopped, cancelled and ended."""

from __future__ import annotations

from typing import Any

import pytest

from service.controller import sweep_lifecycle
from service.store import sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial


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
