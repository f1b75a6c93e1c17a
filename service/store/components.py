"""The health of each component of the system, as the controller last observed it."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.store.tables import Component


def note(session: Session, name: str, healthy: bool, message: str, detail: dict[str, Any] | None = None) -> None:
    """Store the health of a component with the current time, replacing what was stored of it before.

    Args:
        session: A session in a write transaction.
        name: The component: ``controller``, ``ray``, ``mlflow``, ``webhooks``, ``checkpoints`` (the space for them), or
            ``checkpoint_writes`` while they cannot be written.
        healthy: Whether the component does its work.
        message: One line for a person to read.
        detail: Further facts for programs to read.
    """
    session.merge(Component(name=name, healthy=healthy, message=message, detail=detail or {}, at=time.time()))


def remove(session: Session, name: str) -> None:
    """Remove what is stored of a component; do nothing if that is nothing."""
    session.execute(delete(Component).where(Component.name == name))


def get(session: Session, name: str) -> Component | None:
    """Return the health of a component as last stored; None if it was never stored."""
    return session.get(Component, name)


def nodes(session: Session) -> list[tuple[float, float]]:
    """Return the (CPUs, GPUs) of each node when the controller last saw the cluster.

    The list is empty if Ray is not healthy or was never observed.
    """
    row = get(session, "ray")
    found = row.detail.get("nodes") if row is not None and row.healthy else None
    if not isinstance(found, list):
        return []
    return [(float(node["cpus"]), float(node["gpus"])) for node in found]


def node_memory(session: Session) -> list[int]:
    """Return the bytes of memory of each node of ``nodes``, in the same order; 0 where the controller has not said."""
    row = get(session, "ray")
    return [int(node.get("memory") or 0) for node in row.detail["nodes"]] if row and nodes(session) else []


def every(session: Session) -> list[Component]:
    """Return the health of every component that was ever stored, in order of name."""
    return list(session.scalars(select(Component).order_by(Component.name)))
