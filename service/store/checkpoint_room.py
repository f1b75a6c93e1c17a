"""How full the checkpoint store is, as the controller last saw it, and whether a further sweep fits into it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.states import SWEEP_OPEN
from service.store import checkpoints, components
from service.store.tables import Sweep

COMPONENT = "checkpoints"
"""The name under which the controller notes the condition of the checkpoint store."""


@dataclass(frozen=True)
class StoreRoom:
    """How full the checkpoint store is; all numbers are in bytes.

    Attributes:
        used: What the checkpoints take.
        free: What is free on the disk.
        reserve: What of that is left for everything else.
        limit: The most that the checkpoints may take; None if the disk alone decides.
        to_come: What the sweeps that have not ended will write yet.
    """

    used: int
    free: int
    reserve: int
    limit: int | None
    to_come: int

    @property
    def left(self) -> int:
        """What further checkpoints may take, not counting what is to come; negative if there is too much already."""
        on_disk = self.free - self.reserve
        return on_disk if self.limit is None else min(on_disk, self.limit - self.used)

    @property
    def for_a_sweep(self) -> int:
        """What a new sweep may take."""
        return max(0, self.left - self.to_come)

    @property
    def message(self) -> str:
        """How full the store is, in one line for a person to read."""
        words = f"{in_words(self.used)} used, {in_words(self.free)} free"
        if self.limit is not None:
            words += f", at most {in_words(self.limit)} allowed"
        if self.left <= 0:
            words += "; it is full: remove what is not needed, or give it more space"
        return words

    def detail(self) -> dict[str, int | None]:
        """Return the numbers by name, each ending in ``_bytes``."""
        return {f"{field.name}_bytes": getattr(self, field.name) for field in fields(self)}


def in_words(size: int) -> str:
    """Return a number of bytes as people write it, such as ``1.5 GB``."""
    value, units = float(size), ("bytes", "kB", "MB", "GB", "TB")
    for unit in units:
        if abs(value) < 1000 or unit == units[-1]:
            return f"{value:.3g} {unit}" if abs(value) < 1000 else f"{value:,.0f} {unit}"
        value /= 1000
    raise AssertionError


def bytes_to_come(session: Session) -> int:
    """Return about how many bytes the sweeps that have not ended will write beside what they have written."""
    query = select(Sweep.id, Sweep.checkpoint_bytes).where(
        Sweep.state.in_(SWEEP_OPEN), Sweep.checkpoint_bytes.is_not(None)
    )
    needed = {sweep_id: int(size or 0) for sweep_id, size in session.execute(query)}
    used = checkpoints.bytes_of_sweeps(session, list(needed))
    return sum(max(0, size - used.get(sweep_id, 0)) for sweep_id, size in needed.items())


def room(session: Session, not_before: float) -> StoreRoom | None:
    """Return how full the checkpoint store is; None if the controller has not looked at it since ``not_before``."""
    row = components.get(session, COMPONENT)
    if row is None or row.at < not_before:
        return None
    noted = {field.name: row.detail[f"{field.name}_bytes"] for field in fields(StoreRoom)}
    # what has been submitted since the last look counts too
    return StoreRoom(**noted | {"to_come": bytes_to_come(session)})
