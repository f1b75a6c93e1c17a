"""What sweeps and trials wait for, in words, from what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.states import SWEEP_ENDED
from service.store.queue import QueueNotes, QueuePlace
from service.store.tables import Sweep
from workers.spec.samplers import SAMPLERS

TO_END = "the controller, which is about to end it"
_STATES = {
    "queued": "the controller, which is about to create its trials",
    "paused": "its sweep to be resumed",
    "cancelling": TO_END,
}
NEXT_ROUND = "the next round of the controller"
RESULTS = "results of running trials, from which the sampler learns"


def of_waiting_trials(sweep: Sweep, notes: QueueNotes) -> str:
    """Return what those trials of a sweep wait for that have been created and wait."""
    return _STATES.get(sweep.state) or _words(notes.of_sweep(sweep.id))


def of_sweep(sweep: Sweep, sampler: str | None, counts: Mapping[str, int], notes: QueueNotes) -> dict[str, Any]:
    """Return the fields ``waiting_for`` and ``queue_position`` of a sweep.

    Args:
        sweep: The sweep, whose document is not looked at: lists of sweeps do not load it.
        sampler: The name of its sampler; None if the document does not say it.
        counts: The number of its trials in each state.
        notes: What waiting sweeps wait for.
    """
    what, position = None, None
    if sweep.state not in SWEEP_ENDED:
        if counts.get("waiting") or sweep.state in _STATES:
            what = of_waiting_trials(sweep, notes)
        elif sweep.state == "running" and sum(counts.values()) < sweep.trial_count:
            what = RESULTS if _learns(sampler) else _STATES["queued"]
        place = notes.of_sweep(sweep.id) if counts.get("waiting") and sweep.state not in _STATES else None
        position = place.position if place else None
    return {"waiting_for": what, "queue_position": position}


def _learns(name: str | None) -> bool:
    sampler = SAMPLERS.get(name or "")
    return sampler is not None and sampler.learns


def _words(place: QueuePlace | None) -> str:
    if place is None:
        return NEXT_ROUND
    before = (place.position or 1) - 1
    if not before:
        return place.what
    return f"{place.what}; {before:,} sweep{' is' if before == 1 else 's are'} before it"
