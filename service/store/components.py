"""What was last seen of each part of the system."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.tables import Component


def note(session: Session, name: str, healthy: bool, message: str, detail: dict[str, Any] | None = None) -> None:
    """Write down the state of a part, in place of what stood there."""
    session.merge(Component(name=name, healthy=healthy, message=message, detail=detail or {}, at=time.time()))


def get(session: Session, name: str) -> Component | None:
    return session.get(Component, name)


def nodes(session: Session) -> list[tuple[float, float]]:
    """CPUs and GPUs of each node, as the controller last saw them; none where the cluster is not known."""
    row = get(session, "ray")
    found = row.detail.get("nodes") if row is not None and row.healthy else None
    if not isinstance(found, list):
        return []
    return [(float(node["cpus"]), float(node["gpus"])) for node in found]


def every(session: Session) -> list[Component]:
    return list(session.scalars(select(Component).order_by(Component.name)))
