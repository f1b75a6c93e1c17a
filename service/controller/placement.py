"""Which waiting trials go together into a pack, and when there is room for one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.controller.cluster import Node
from service.store import packs
from service.store.tables import Attempt, Pack, Trial
from workers.runtime.pack_planner import plan
from workers.spec.sweep import ResourcesSpec
from workers.spec.trial import TrialSpec


@dataclass(frozen=True)
class Room:
    """What the cluster has and what is still free of it."""

    nodes: Sequence[Node]
    cpus: float
    gpus: float

    @classmethod
    def left(cls, nodes: Sequence[Node], running: Iterable[Pack]) -> Room:
        packs_ = list(running)
        cpus = sum(node.cpus for node in nodes) - sum(pack.cpus for pack in packs_)
        return cls(nodes, cpus, sum(node.gpus for node in nodes) - sum(pack.gpus for pack in packs_))

    def possible(self, needs: ResourcesSpec) -> bool:
        """Whether a node could ever hold a pack."""
        return any(node.cpus >= needs.cpus and node.gpus >= needs.gpus for node in self.nodes)

    def less(self, needs: ResourcesSpec) -> Room:
        return Room(self.nodes, self.cpus - needs.cpus, self.gpus - needs.gpus)

    def count(self, needs: ResourcesSpec) -> int:
        """How many packs fit now."""
        return max(0, _times(self.cpus, self.gpus, needs))

    def most(self, needs: ResourcesSpec) -> int:
        """How many packs fit where nothing else runs."""
        return sum(_times(node.cpus, node.gpus, needs) for node in self.nodes)


def _times(cpus: float, gpus: float, needs: ResourcesSpec) -> int:
    by_cpu = int(cpus // needs.cpus)
    return min(by_cpu, int(gpus // needs.gpus)) if needs.gpus else by_cpu


def suspects(waiting: Sequence[Trial], last: Mapping[str, Attempt], sizes: Mapping[str, int]) -> list[list[Trial]]:
    """Trials that went down with their process, in packs half as large as the one they were lost in.

    sizes: trials per pack, by pack. One of each group may be what kills the process; halving finds it, and the others
    finish.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in waiting:
        attempt = last.get(trial.id)
        if attempt is not None and attempt.outcome == packs.LOST and attempt.cause == "process":
            groups.setdefault(attempt.pack_id, []).append(trial)
    return [part for pack_id, group in groups.items() for part in _split(group, max(1, sizes[pack_id] // 2))]


def _split(group: list[Trial], size: int) -> list[list[Trial]]:
    return [group[start : start + size] for start in range(0, len(group), size)]


def fresh_packs(waiting: Sequence[tuple[Trial, TrialSpec]], needs: ResourcesSpec, room: Room) -> list[list[Trial]]:
    """Packs of the other trials, as large as pays where they run."""
    specs = [spec for _, spec in waiting]
    packs_ = plan(specs, needs.pack_size, max(1, room.most(needs)), needs.gpus)
    return [[waiting[position][0] for position in pack] for pack in packs_]
