"""The states of sweeps and trials, and which of them may follow which, as tables and functions that look them up."""

from __future__ import annotations

from typing import Literal

SweepState = Literal[
    "queued", "running", "paused", "stopping", "cancelling", "succeeded", "failed", "stopped", "cancelled"
]
TrialState = Literal["waiting", "running", "succeeded", "pruned", "failed", "cancelled"]
SweepVerb = Literal["pause", "resume", "stop", "cancel"]

SWEEP_MOVES: dict[SweepState, frozenset[SweepState]] = {
    "queued": frozenset({"running", "paused", "stopping", "cancelling", "failed"}),
    "running": frozenset({"paused", "stopping", "cancelling", "succeeded", "failed"}),
    "paused": frozenset({"queued", "running", "stopping", "cancelling"}),
    "stopping": frozenset({"stopped", "cancelling"}),
    "cancelling": frozenset({"cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "stopped": frozenset(),
    "cancelled": frozenset(),
}

TRIAL_MOVES: dict[TrialState, frozenset[TrialState]] = {
    "waiting": frozenset({"running", "cancelled", "failed"}),
    "running": frozenset({"waiting", "succeeded", "pruned", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "pruned": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

SWEEP_ENDED = frozenset(state for state, moves in SWEEP_MOVES.items() if not moves)
SWEEP_OPEN = frozenset(SWEEP_MOVES) - SWEEP_ENDED
TRIAL_ENDED = frozenset(state for state, moves in TRIAL_MOVES.items() if not moves)

# by verb and current state, the next state; the state stays if the verb has had its effect
_VERBS: dict[SweepVerb, dict[SweepState, SweepState]] = {
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
}


class IllegalMove(ValueError):
    """A sweep or a trial may not go from its current state to the requested one, or a verb does not apply to it."""


def move_sweep(state: SweepState, to: SweepState) -> SweepState:
    """Return ``to``, or raise IllegalMove if a sweep may not go there from ``state``, also if both are the same."""
    if to not in SWEEP_MOVES[state]:
        raise IllegalMove(f"a sweep that is {state} cannot become {to}; allowed: {_listed(SWEEP_MOVES[state])}")
    return to


def move_trial(state: TrialState, to: TrialState) -> TrialState:
    """Return ``to``, or raise IllegalMove if a trial may not go there from ``state``, also if both are the same."""
    if to not in TRIAL_MOVES[state]:
        raise IllegalMove(f"a trial that is {state} cannot become {to}; allowed: {_listed(TRIAL_MOVES[state])}")
    return to


def after_verb(state: SweepState, verb: SweepVerb) -> SweepState:
    """Return the state that a sweep in ``state`` gets from a user's verb.

    It is ``state`` itself if the verb has had its effect, as that of ``pause`` on a paused sweep, or ``stop`` on a
    stopped one.

    Raises:
        IllegalMove: If the verb does not apply: the sweep has ended in another way, or it is stopping or being
            cancelled and the verb would lead back.
    """
    targets = _VERBS[verb]
    if state not in targets:
        why = "it has ended" if state in SWEEP_ENDED else f"possible only while it is {_listed(frozenset(targets))}"
        raise IllegalMove(f"cannot {verb} a sweep that is {state}: {why}")
    return targets[state]


def _listed(states: frozenset[SweepState] | frozenset[TrialState]) -> str:
    return ", ".join(sorted(states)) or "none, because it has ended"
