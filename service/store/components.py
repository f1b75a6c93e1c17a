"""The health of each component of the system, as the controller last observed it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

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


class NodeSize(NamedTuple):
    """What a node has, used or not: its CPUs, its GPUs, the bytes of memory that Ray gives away, and its labels."""

    cpus: float
    gpus: float
    memory: int = 0
    labels: Mapping[str, str] = MappingProxyType({})


def nodes(session: Session) -> list[NodeSize]:
    """Return what each node had when the controller last saw the cluster.

    The list is empty if Ray is not healthy or was never observed.
    """
    row = get(session, "ray")
    found = row.detail.get("nodes") if row is not None and row.healthy else None
    if not isinstance(found, list):
        return []
    return [
        NodeSize(float(node["cpus"]), float(node["gpus"]), int(node.get("memory", 0)), node.get("labels", {}))
        for node in found
    ]


def every(session: Session) -> list[Component]:
    """Return the health of every component that was ever stored, in order of name."""
    return list(session.scalars(select(Component).order_by(Component.name)))
