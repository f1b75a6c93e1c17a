"""What the runners of packs print: kept by pack, and read by trial. The caller commits.

A runner trains several trials in one process, so most lines belong to all of them. A trial's output is what its packs
have printed while it was there: the lines above the number ``line_from`` of its attempt, up to ``line_to``, without
those that are about another trial alone. The numbers are those of the pack's reports, so no clock decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, delete, func, insert, or_, select
from sqlalchemy.orm import Session

from service.store.tables import Attempt, Pack, PackLine
from workers.output_bounds import OVERHEAD, middle, note
from workers.protocol import OutputLine

MOST_CHARACTERS = 256 * 1024
"""How much is kept of the output of one pack: the first half and the last half of it."""
PACKS = 5
"""Of how many packs ``remove_some`` deletes the lines."""

_SIZE = func.length(PackLine.text) + OVERHEAD


class LinePlace(NamedTuple):
    """The place of a line in a trial's output: the number of the attempt, and that of the line in its pack."""

    attempt: int
    seq: int


BEGINNING = LinePlace(0, 0)


def add(session: Session, pack_id: str, lines: Sequence[OutputLine]) -> None:
    """Store lines of a pack, and leave out those in the middle if there are too many.

    Args:
        session: A session in a write transaction.
        pack_id: The pack.
        lines: Lines in order of number, none of which was stored before.
    """
    if not lines:
        return
    session.execute(insert(PackLine), [{"pack_id": pack_id, **line.model_dump()} for line in lines])
    of_pack = PackLine.pack_id == pack_id
    if (session.scalar(select(func.sum(_SIZE)).where(of_pack)) or 0) <= MOST_CHARACTERS:
        return
    query = select(PackLine.seq, PackLine.at, _SIZE, PackLine.left_out).where(of_pack).order_by(PackLine.seq)
    rows = session.execute(query).all()
    gone = rows[middle([(size, left_out) for _, _, size, left_out in rows], MOST_CHARACTERS // 2, MOST_CHARACTERS // 2)]
    first, last = gone[0], gone[-1]
    count = sum(left_out or 1 for _, _, _, left_out in gone)
    session.execute(delete(PackLine).where(of_pack, PackLine.seq.between(first.seq, last.seq)))
    left = OutputLine(seq=last.seq, at=last.at, stream="note", text=note(count), left_out=count)
    session.execute(insert(PackLine), [{"pack_id": pack_id, **left.model_dump()}])


def of_trial(
    session: Session, trial_id: str, after: LinePlace = BEGINNING, limit: int = 1000
) -> list[tuple[LinePlace, PackLine]]:
    """Return the first ``limit`` lines of a trial's output behind a place, in order of attempt and number."""
    number, seq = Attempt.number, PackLine.seq
    query = (
        select(number, PackLine)
        .join(PackLine, PackLine.pack_id == Attempt.pack_id)
        .where(
            Attempt.trial_id == trial_id,
            seq > Attempt.line_from,
            or_(Attempt.line_to.is_(None), seq <= Attempt.line_to),
            or_(PackLine.trial_id.is_(None), PackLine.trial_id == trial_id),
            or_(number > after.attempt, and_(number == after.attempt, seq > after.seq)),
        )
        .order_by(number, seq)
        .limit(limit)
    )
    return [(LinePlace(attempt, line.seq), line) for attempt, line in session.execute(query)]


def remove_some(session: Session, sweep_id: str) -> bool:
    """Delete the lines of some packs of a sweep, and return whether there may be more."""
    of_sweep = select(PackLine.pack_id).join(Pack, Pack.id == PackLine.pack_id).where(Pack.sweep_id == sweep_id)
    ids = list(session.scalars(of_sweep.distinct().limit(PACKS)))
    if ids:
        session.execute(delete(PackLine).where(PackLine.pack_id.in_(ids)))
    return bool(ids)
