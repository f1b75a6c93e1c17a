"""The tables of controllers: which one leads, and the health that it observes."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from service.store.tables.metadata import Base


class Lease(Base):
    """The controllers' lease: who leads, and until when.

    Attributes:
        holder: The unique name of the controller that leads, or led last if the lease has expired.
        term: A number that grows with each new leader. A write under an older term is refused.
    """

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120))
    term: Mapped[int]
    expires_at: Mapped[float]


class Component(Base):
    """The health of a component (``controller``, ``ray`` or ``mlflow``), as the controller last observed it.

    The row ``queue`` has what waiting sweeps wait for (``store.queue``).

    Attributes:
        message: One line for a person to read.
        detail: Further facts for programs to read.
    """

    __tablename__ = "components"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    healthy: Mapped[bool]
    message: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]]
    at: Mapped[float] = mapped_column(default=time.time)
