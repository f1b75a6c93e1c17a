"""The states of sweeps and trials, and which of them may follow which, as tables and functions that look them up."""

from __future__ import annotations

from typing import Literal, get_args

SweepState = Literal[
    "queued", "running", "paused", "stopping", "cancelling", "succeeded", "failed", "stopped", "cancelled"
]
TrialState = Literal["waiting", "running", "succeeded", "pruned", "failed", "cancelled"]
SWEEP_STATES: tuple[SweepState, ...] = get_args(SweepState)
TRIAL_STATES: tuple[TrialState, ...] = get_args(TrialState)
Deleting = Literal["deleting"]
StoredSweepState = SweepState | Deleting
StoredTrialState = TrialState | Deleting
"""A state in the database. What is being deleted is shown to nobody: it is as if it did not exist."""
DELETING: Deleting = "deleting"
SweepVerb = Literal["pause", "resume", "stop", "cancel"]
AfterEnd = Literal["rerun", "extend", "delete"]
"""What can be done with a sweep that has ended."""
Change = Literal["change", "archive"]
"""What leaves a sweep in its state: another priority or number of parallel trials, or that lists leave it out."""

_AFTER_END: frozenset[StoredSweepState] = frozenset({"running", DELETING})
SWEEP_MOVES: dict[StoredSweepState, frozenset[StoredSweepState]] = {
    "queued": frozenset({"running", "paused", "stopping", "cancelling", "failed"}),
    "running": frozenset({"paused", "stopping", "cancelling", "succeeded", "failed"}),
    "paused": frozenset({"queued", "running", "stopping", "cancelling"}),
    "stopping": frozenset({"stopped", "cancelling"}),
    "cancelling": frozenset({"cancelled"}),
    "succeeded": _AFTER_END,
    "failed": _AFTER_END,
    "stopped": _AFTER_END,
    "cancelled": _AFTER_END,
    "deleting": frozenset(),
}

TRIAL_MOVES: dict[StoredTrialState, frozenset[StoredTrialState]] = {
    "waiting": frozenset({"running", "cancelled", "failed"}),
    "running": frozenset({"waiting", "succeeded", "pruned", "failed", "cancelled"}),
    "succeeded": frozenset({"waiting", DELETING}),
    "pruned": frozenset({DELETING}),
    "failed": frozenset({"waiting", DELETING}),
    "cancelled": frozenset({DELETING}),
    "deleting": frozenset(),
}

SWEEP_ENDED: frozenset[StoredSweepState] = frozenset({"succeeded", "failed", "stopped", "cancelled"})
SWEEP_OPEN = frozenset(state for state in SWEEP_MOVES if state not in SWEEP_ENDED and state != DELETING)
TRIAL_ENDED: frozenset[StoredTrialState] = frozenset({"succeeded", "pruned", "failed", "cancelled"})

_AGAIN: dict[StoredSweepState, StoredSweepState] = {
    "running": "running",
    "paused": "paused",
    "succeeded": "running",
    "failed": "running",
    "stopped": "running",
    "cancelled": "running",
}
# by verb and current state, the next state; the state stays if the verb has had its effect
_VERBS: dict[SweepVerb | AfterEnd | Change, dict[StoredSweepState, StoredSweepState]] = {
    "pause": {"queued": "paused", "running": "paused", "paused": "paused"},
    "resume": {"paused": "running", "running": "running", "queued": "queued"},
    "stop": {
        "queued": "stopping",
        "running": "stopping",
        "paused": "stopping",
        "stopping": "stopping",
        "stopped": "stopped",
    },
    "cancel": {
        "queued": "cancelling",
        "running": "cancelling",
        "paused": "cancelling",
        "stopping": "cancelling",
        "cancelling": "cancelling",
        "cancelled": "cancelled",
    },
    "rerun": _AGAIN,
    "extend": {"queued": "queued", **_AGAIN},
    "change": {"queued": "queued", "running": "running", "paused": "paused", "stopping": "stopping"},
    "archive": {"succeeded": "succeeded", "failed": "failed", "stopped": "stopped", "cancelled": "cancelled"},
    "delete": {
        "succeeded": DELETING,
        "failed": DELETING,
        "stopped": DELETING,
        "cancelled": DELETING,
    },
}
_FIRST = {
    "delete": "; wait until it has ended, or cancel it",
    "archive": "; wait until it has ended, or cancel it",
}
"""What has to be done before a verb, if that is not said by the states that permit it."""


class IllegalMove(ValueError):
    """A sweep or a trial may not go from its current state to the requested one, or a verb does not apply to it."""


def move_sweep(state: StoredSweepState, to: StoredSweepState) -> StoredSweepState:
    """Return ``to``, or raise IllegalMove if a sweep may not go there from ``state``, also if both are the same."""
    if to not in SWEEP_MOVES[state]:
        raise IllegalMove(f"a sweep that is {state} cannot become {to}; allowed: {_listed(SWEEP_MOVES[state])}")
    return to


def move_trial(state: StoredTrialState, to: StoredTrialState) -> StoredTrialState:
    """Return ``to``, or raise IllegalMove if a trial may not go there from ``state``, also if both are the same."""
    if to not in TRIAL_MOVES[state]:
        raise IllegalMove(f"a trial that is {state} cannot become {to}; allowed: {_listed(TRIAL_MOVES[state])}")
    return to


def after_verb(state: StoredSweepState, verb: SweepVerb | AfterEnd | Change) -> StoredSweepState:
    """Return the state that a sweep in ``state`` gets from a user's verb.

    It is ``state`` itself if the verb has had its effect, as that of ``pause`` on a paused sweep, or ``stop`` on a
    stopped one. ``rerun``, ``extend`` and ``change`` leave an open sweep in its state, and ``archive`` one that has
    ended, and have their effect all the same.

    Raises:
        IllegalMove: If the verb does not apply: the sweep has ended in another way, or it is stopping or being
            cancelled and the verb would lead back.
    """
    targets = _VERBS[verb]
    if state not in targets:
        if state in SWEEP_ENDED:
            raise IllegalMove(f"cannot {verb} a sweep that has ended ({state})")
        why = f"possible only while it is {_listed(frozenset(targets))}{_FIRST.get(verb, '')}"
        raise IllegalMove(f"cannot {verb} a sweep that is {state}: {why}")
    return targets[state]


def _listed(states: frozenset[StoredSweepState] | frozenset[StoredTrialState]) -> str:
    return ", ".join(sorted(states)) or "none"
