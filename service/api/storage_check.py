"""Whether the checkpoints of a new sweep fit into the checkpoint store, as far as the controller has seen it."""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from service.api.problems import Refused
from service.store import checkpoint_room
from service.store.checkpoint_room import StoreRoom, in_words
from workers.errors import FieldError
from workers.spec.sweep import SweepSpec

STALE_SECONDS = 60.0
"""After so many seconds it is no longer believed what the controller has seen of the store."""


def no_space(session: Session, spec: SweepSpec, needed: int) -> FieldError | None:
    """Return why a sweep does not fit into the checkpoint store; None if it does, or if that is not known.

    Args:
        session: A session.
        spec: The sweep.
        needed: About how many bytes its checkpoints will take.
    """
    room = checkpoint_room.room(session, time.time() - STALE_SECONDS)
    if room is None or needed <= room.for_a_sweep:
        return None
    left = in_words(room.for_a_sweep)
    problem = f"need about {in_words(needed)}, and the checkpoint store has {left} left: {_why(room)}"
    allowed = "fewer trials, a smaller network"
    allowed += ', checkpoints.keep ["best"]' if len(spec.checkpoints.keep) > 1 else ""
    allowed += ", no checkpoints.keep_every" if spec.checkpoints.keep_every else ""
    return FieldError("checkpoints", spec.checkpoints.model_dump(), problem, f"{allowed}; or more space for the store")


def refuse_without_space(session: Session, spec: SweepSpec, needed: int) -> None:
    """Raise Refused with status 507 if a sweep does not fit into the checkpoint store."""
    error = no_space(session, spec, needed)
    if error is not None:
        detail = f"the checkpoints of this sweep {error.problem}. What helps: {error.allowed}"
        raise Refused(507, "Insufficient storage", detail, [error])


def _why(room: StoreRoom) -> str:
    parts = [f"{in_words(room.free)} free on its disk, of which {in_words(room.reserve)} stay free"]
    if room.limit is not None:
        parts.append(f"{in_words(room.used)} used of the {in_words(room.limit)} that SPECTRAL_CHECKPOINT_BYTES allows")
    parts.append(f"{in_words(room.to_come)} needed by the sweeps that have not ended")
    return ", ".join(parts)
