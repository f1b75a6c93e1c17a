"""What a pack needs, and what a node of the cluster has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.spec.node_labels import has_labels
from workers.spec.resources import ResourcesSpec

EXACT = 1e-6
"""Amounts that differ by less are equal. Ray counts in steps of 0.0001."""


@dataclass(frozen=True)
class Needs:
    """What one pack takes.

    Attributes:
        cpus: CPUs.
        gpus: GPUs: a part of one, or a whole number.
        memory: Bytes.
        labels: What is wanted of the node's labels, as pairs of a key and a selector.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    labels: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.cpus, self.gpus, self.memory, self.labels)))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined,no-any-return]  # computed once: it is looked up thousands of times

    @classmethod
    def of(cls, resources: ResourcesSpec) -> Needs:
        """Return what a pack takes of a sweep with these resources."""
        labels = tuple(sorted(resources.labels.items()))
        return cls(resources.cpus, resources.gpus, resources.memory or 0, labels)

    @classmethod
    def stored(cls, resources: Mapping[str, Any] | None) -> Needs:
        """Return the same from the stored document, which an earlier release may have written."""
        given = resources or {}
        labels = tuple(sorted((given.get("labels") or {}).items()))
        return cls(float(given.get("cpus", 1.0)), float(given.get("gpus", 0.0)), int(given.get("memory") or 0), labels)

    @property
    def words(self) -> str:
        """The needs for a person to read, as in ``1 CPU, 0.5 GPUs and 8 GiB of memory on a node with zone: a``."""
        parts = [counted(self.cpus, "CPU")]
        parts += [counted(self.gpus, "GPU")] if self.gpus else []
        parts += [f"{self.memory / 2**30:.3g} GiB of memory"] if self.memory else []
        text = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        labels = ", ".join(f"{key}: {selector}" for key, selector in self.labels)
        return f"{text} on a node with {labels}" if labels else text


def counted(amount: float, noun: str) -> str:
    """Return an amount with its noun, as in ``1 CPU`` or ``2.5 CPUs``."""
    return f"{amount:g} {noun}" + ("" if amount == 1 else "s")


@dataclass(frozen=True)
class Node:
    """A living node of the cluster, with all that it has, used or not.

    Attributes:
        name: Its host name.
        cpus: Its CPUs.
        gpus: Its GPUs.
        memory: The bytes that Ray gives to those who ask for memory.
        labels: Its labels in Ray.
        id: Its id in Ray; empty if it is not known.
    """

    name: str
    cpus: float
    gpus: float
    memory: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    id: str = ""

    def can_hold(self, needs: Needs) -> bool:
        """Return whether a pack fits here while nothing else runs."""
        return self.packs_of(needs) > 0

    def packs_of(self, needs: Needs) -> int:
        """Return how many packs fit here while nothing else runs."""
        if not has_labels(self.labels, dict(needs.labels)):
            return 0
        counts = [int((self.cpus + EXACT) / needs.cpus)]
        if needs.memory:
            counts.append(int(self.memory // needs.memory))
        if needs.gpus >= 1:
            counts.append(int((self.gpus + EXACT) / needs.gpus))
        elif needs.gpus:
            counts.append(int(self.gpus + EXACT) * int((1 + EXACT) / needs.gpus))
        return min(counts)
