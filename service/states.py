"""States of sweeps and trials and the moves between them: one table each, pure functions."""

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
TRIAL_ENDED = frozenset(state for state, moves in TRIAL_MOVES.items() if not moves)

# where a verb leads; a verb that finds its own effect already there changes nothing
_VERBS: dict[SweepVerb, dict[SweepState, SweepState]] = {
    "pause": {"queued": "paused", "running": "paused", "paused": "paused"},
    "resume": {"paused": "running", "running": "running", "queued": "queued"},
    "stop": {
        "queued": "stopping", "running": "stopping", "paused": "stopping", "stopping": "stopping", "stopped": "stopped",
    },
    "cancel": {
        "queued": "cancelling", "running": "cancelling", "paused": "cancelling", "stopping": "cancelling",
        "cancelling": "cancelling", "cancelled": "cancelled",
    },
}  # fmt: skip


class IllegalMove(ValueError):
    """A move that the table does not permit."""


def move_sweep(state: SweepState, to: SweepState) -> SweepState:
    """``to``, where the table permits it from ``state``."""
    if to not in SWEEP_MOVES[state]:
        raise IllegalMove(f"a sweep that is {state} cannot become {to}; allowed: {_listed(SWEEP_MOVES[state])}")
    return to


def move_trial(state: TrialState, to: TrialState) -> TrialState:
    """``to``, where the table permits it from ``state``."""
    if to not in TRIAL_MOVES[state]:
        raise IllegalMove(f"a trial that is {state} cannot become {to}; allowed: {_listed(TRIAL_MOVES[state])}")
    return to


def after_verb(state: SweepState, verb: SweepVerb) -> SweepState:
    """The state a user's verb leads to; repeating a verb is no error, a verb that comes too late is."""
    targets = _VERBS[verb]
    if state not in targets:
        raise IllegalMove(
            f"cannot {verb} a sweep that is {state}; {verb} is for one that is {_listed(frozenset(targets))}"
        )
    return targets[state]


def _listed(states: frozenset[SweepState] | frozenset[TrialState]) -> str:
    return ", ".join(sorted(states)) or "none, it has ended"
