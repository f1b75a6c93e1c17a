"""Every move between two states, and every verb in every state."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from service.states import (
    SWEEP_ENDED,
    SWEEP_MOVES,
    SWEEP_OPEN,
    TRIAL_ENDED,
    TRIAL_MOVES,
    AfterEnd,
    Change,
    IllegalMove,
    StoredSweepState,
    StoredTrialState,
    SweepState,
    SweepVerb,
    TrialState,
    after_verb,
    move_sweep,
    move_trial,
)

SWEEPS: tuple[StoredSweepState, ...] = (*get_args(SweepState), "deleting")
TRIALS: tuple[StoredTrialState, ...] = (*get_args(TrialState), "deleting")
VERBS: tuple[SweepVerb | AfterEnd | Change, ...] = (*get_args(SweepVerb), *get_args(AfterEnd), *get_args(Change))


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
    "succeeded: running deleting",
    "failed: running deleting",
    "stopped: running deleting",
    "cancelled: running deleting",
)
TRIAL_PERMITTED = pairs(
    "waiting: running cancelled failed",
    "running: waiting succeeded pruned failed cancelled",
    "succeeded: waiting deleting",
    "pruned: deleting",
    "failed: waiting deleting",
    "cancelled: deleting",
)
REFUSED = {
    *product(("stopping", "cancelling", *SWEEP_ENDED), ("pause", "resume")),
    *product(("cancelling", *(SWEEP_ENDED - {"stopped"})), ("stop",)),
    *product(SWEEP_ENDED - {"cancelled"}, ("cancel",)),
    *product(("queued", "stopping", "cancelling"), ("rerun",)),
    *product(("stopping", "cancelling"), ("extend",)),
    *product(SWEEP_OPEN, ("delete", "archive")),
    *product(("cancelling", *SWEEP_ENDED), ("change",)),
    *product(("deleting",), VERBS),
}


def test_tables_name_every_state() -> None:
    assert set(SWEEP_MOVES) == set(SWEEPS)
    assert set(TRIAL_MOVES) == set(TRIALS)


@pytest.mark.parametrize(("before", "to"), list(product(SWEEPS, SWEEPS)))
def test_sweep_moves(before: StoredSweepState, to: StoredSweepState) -> None:
    if (before, to) in SWEEP_PERMITTED:
        assert move_sweep(before, to) == to
    else:
        with pytest.raises(IllegalMove, match=f"a sweep that is {before} cannot become {to}"):
            move_sweep(before, to)


@pytest.mark.parametrize(("before", "to"), list(product(TRIALS, TRIALS)))
def test_trial_moves(before: StoredTrialState, to: StoredTrialState) -> None:
    if (before, to) in TRIAL_PERMITTED:
        assert move_trial(before, to) == to
    else:
        with pytest.raises(IllegalMove, match=f"a trial that is {before} cannot become {to}"):
            move_trial(before, to)


def test_what_ends() -> None:
    assert {"succeeded", "failed", "stopped", "cancelled"} == SWEEP_ENDED
    assert {"queued", "running", "paused", "stopping", "cancelling"} == SWEEP_OPEN
    assert {"succeeded", "pruned", "failed", "cancelled"} == TRIAL_ENDED


@pytest.mark.parametrize(("state", "verb"), list(product(SWEEPS, VERBS)))
def test_verbs_lead_along_permitted_moves(state: StoredSweepState, verb: SweepVerb | AfterEnd | Change) -> None:
    if (state, verb) in REFUSED:
        with pytest.raises(IllegalMove, match=rf"cannot {verb} a sweep that (is {state}|has ended \({state}\))"):
            after_verb(state, verb)
        return
    to = after_verb(state, verb)
    assert to == state or (state, to) in SWEEP_PERMITTED
    if verb == "delete":
        assert to == "deleting"  # what is being deleted is there for no further verb
    else:
        assert after_verb(to, verb) == to
