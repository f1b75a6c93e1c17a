"""The table of what runners print. It is one of ``tables.py``, whose other tables it needs."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables import Base


class PackLine(Base):
    """One line that the runner of a pack has printed or logged, as ``workers.protocol.OutputLine`` describes it.

    Attributes:
        seq: The line's number, in the series of the numbers of the pack's reports.
        trial_id: The trial that the line is about; None if it is about the whole pack.
        at: When it was printed, on the clock of the runner's machine.
        left_out: For how many lines that were left out it stands; 0 if it is a line itself.
    """

    __tablename__ = "pack_lines"

    pack_id: Mapped[str] = mapped_column(ForeignKey("packs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[str | None] = mapped_column(String(48))
    at: Mapped[float]
    stream: Mapped[str] = mapped_column(String(10))
    level: Mapped[str | None] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(Text)
    left_out: Mapped[int] = mapped_column(default=0)
