"""Every move between two states, and every verb in every state."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from service.states import (
    SWEEP_ENDED,
    SWEEP_MOVES,
    TRIAL_ENDED,
    TRIAL_MOVES,
    IllegalMove,
    SweepState,
    SweepVerb,
    TrialState,
    after_verb,
    move_sweep,
    move_trial,
)

SWEEPS: tuple[SweepState, ...] = get_args(SweepState)
TRIALS: tuple[TrialState, ...] = get_args(TrialState)
VERBS: tuple[SweepVerb, ...] = get_args(SweepVerb)


def pairs(*moves: str) -> set[tuple[str, str]]:
    """Return the pairs of states of lines such as ``running: paused failed``."""
    rows = [line.split(": ") for line in moves]
    return {(before, to) for before, targets in rows for to in targets.split()}


# the tables are written here a second time on purpose, so that a slip in them shows as a difference
SWEEP_PERMITTED = pairs(
    "queued: running paused stopping cancelling failed",
    "running: paused stopping cancelling succeeded failed",
    "paused: queued running stopping cancelling",
    "stopping: stopped cancelling",
    "cancelling: cancelled",
)
TRIAL_PERMITTED = pairs(
    "waiting: running cancelled failed",
    "running: waiting succeeded pruned failed cancelled",
)
TOO_LATE = {
    *product(("stopping", "cancelling", *SWEEP_ENDED), ("pause", "resume")),
    *product(("cancelling", *(SWEEP_ENDED - {"stopped"})), ("stop",)),
    *product(SWEEP_ENDED - {"cancelled"}, ("cancel",)),
}


def test_tables_name_every_state() -> None:
    assert set(SWEEP_MOVES) == set(SWEEPS)
    assert set(TRIAL_MOVES) == set(TRIALS)


@pytest.mark.parametrize(("before", "to"), list(product(SWEEPS, SWEEPS)))
def test_sweep_moves(before: SweepState, to: SweepState) -> None:
    if (before, to) in SWEEP_PERMITTED:
        assert move_sweep(before, to) == to
    else:
        with pytest.raises(IllegalMove, match=f"a sweep that is {before} cannot become {to}"):
            move_sweep(before, to)


@pytest.mark.parametrize(("before", "to"), list(product(TRIALS, TRIALS)))
def test_trial_moves(before: TrialState, to: TrialState) -> None:
    if (before, to) in TRIAL_PERMITTED:
        assert move_trial(before, to) == to
    else:
        with pytest.raises(IllegalMove, match=f"a trial that is {before} cannot become {to}"):
            move_trial(before, to)


def test_what_ends() -> None:
    assert {"succeeded", "failed", "stopped", "cancelled"} == SWEEP_ENDED
    assert {"succeeded", "pruned", "failed", "cancelled"} == TRIAL_ENDED


@pytest.mark.parametrize(("state", "verb"), list(product(SWEEPS, VERBS)))
def test_verbs_lead_along_permitted_moves_and_may_be_repeated(state: SweepState, verb: SweepVerb) -> None:
    if (state, verb) in TOO_LATE:
        with pytest.raises(IllegalMove, match=f"cannot {verb} a sweep that is {state}"):
            after_verb(state, verb)
        return
    to = after_verb(state, verb)
    assert to == state or (state, to) in SWEEP_PERMITTED
    assert after_verb(to, verb) == to
