"""What waiting sweeps wait for, as the controller last decided it. The caller commits.

It is one row among the components, which is written only when it has changed. Where many sweeps wait, only the first
``MOST_NOTED`` have a note of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from service.store import components
from service.store.tables import Component

NAME = "queue"
MOST_NOTED = 1_000


class QueueNote(NamedTuple):
    """What one sweep waits for.

    Attributes:
        sweep_id: The sweep.
        what: What it waits for, for a person to read.
        in_line: Whether it waits for its turn, so that the sweeps before it matter.
    """

    sweep_id: str
    what: str
    in_line: bool


class QueuePlace(NamedTuple):
    """What a sweep waits for, and its place among the sweeps that wait for their turn, from 1; None without one."""

    what: str
    position: int | None


class QueueNotes:
    """The notes about all sweeps.

    Args:
        detail: What the row holds.
    """

    def __init__(self, detail: dict[str, Any]) -> None:
        self._detail = detail

    @classmethod
    def of(cls, notes: Sequence[QueueNote]) -> QueueNotes:
        """Return the notes of a decision, in the order in which the sweeps come."""
        texts: dict[str, int] = {}
        waiting: dict[str, list[int | None]] = {}
        position = 0
        for note in notes:
            position += note.in_line
            if len(waiting) < MOST_NOTED:
                place = texts.setdefault(note.what, len(texts))
                waiting[note.sweep_id] = [place, position if note.in_line else None]
        return cls({"texts": list(texts), "waiting": waiting, "further": len(notes) - len(waiting)})

    @classmethod
    def of_all(cls, what: str) -> QueueNotes:
        """Return that all sweeps wait for the same."""
        return cls({"all": what})

    def of_sweep(self, sweep_id: str) -> QueuePlace | None:
        """Return what a sweep waits for; None if the last decision has not said it."""
        if "all" in self._detail:
            return QueuePlace(str(self._detail["all"]), None)
        found = self._detail.get("waiting", {}).get(sweep_id)
        if found is not None:
            return QueuePlace(str(self._detail["texts"][found[0]]), found[1])
        if self._detail.get("further"):
            return QueuePlace(f"its turn: more than {MOST_NOTED:,} sweeps are before it", None)
        return None

    def write(self, session: Session) -> None:
        """Store these notes in the place of the ones before."""
        components.note(session, NAME, True, "", self._detail)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QueueNotes) and self._detail == other._detail

    __hash__ = None  # type: ignore[assignment]  # nobody keeps them in a set


def read(session: Session) -> QueueNotes:
    """Return the notes as last stored; there are none before the controller's first decision."""
    row = session.get(Component, NAME)
    return QueueNotes(row.detail if row is not None else {})
