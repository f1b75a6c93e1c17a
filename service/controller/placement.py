"""Placement, without the database: which trials share a pack, and how many packs the cluster's nodes can hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.controller.cluster import Node
from service.store import attempts
from service.store.tables import Attempt, Pack, Trial
from workers.runtime.pack_planner import plan
from workers.spec.sweep import ResourcesSpec
from workers.spec.trial import TrialSpec


@dataclass(frozen=True)
class Capacity:
    """Counts how many packs the cluster can hold.

    Attributes:
        nodes: The nodes of the cluster.
        cpus: The CPUs that are free on all nodes together.
        gpus: The GPUs that are free on all nodes together.
    """

    nodes: Sequence[Node]
    cpus: float
    gpus: float

    @classmethod
    def free(cls, nodes: Sequence[Node], running: Iterable[Pack]) -> Capacity:
        """Return the capacity of ``nodes`` that the ``running`` packs leave free."""
        open_packs = list(running)
        cpus = sum(node.cpus for node in nodes) - sum(pack.cpus for pack in open_packs)
        return cls(nodes, cpus, sum(node.gpus for node in nodes) - sum(pack.gpus for pack in open_packs))

    def can_ever_hold(self, needs: ResourcesSpec) -> bool:
        """Return whether some node is large enough for one pack while nothing else runs on it."""
        return any(node.cpus >= needs.cpus and node.gpus >= needs.gpus for node in self.nodes)

    def minus(self, needs: ResourcesSpec) -> Capacity:
        """Return the capacity that is left after one more pack."""
        return Capacity(self.nodes, self.cpus - needs.cpus, self.gpus - needs.gpus)

    def free_packs(self, needs: ResourcesSpec) -> int:
        """Return how many more packs fit into the CPUs and GPUs that are free on all nodes together.

        The free ones may be spread over several nodes, so that a pack still has to wait in Ray for room on one node.
        """
        return max(0, _times(self.cpus, self.gpus, needs))

    def total_packs(self, needs: ResourcesSpec) -> int:
        """Return how many packs fit on the nodes of the cluster, each on one node, while nothing runs on them."""
        return sum(_times(node.cpus, node.gpus, needs) for node in self.nodes)


def _times(cpus: float, gpus: float, needs: ResourcesSpec) -> int:
    by_cpu = int(cpus // needs.cpus)
    return min(by_cpu, int(gpus // needs.gpus)) if needs.gpus else by_cpu


def retry_packs(waiting: Sequence[Trial], histories: Mapping[str, Sequence[Attempt]]) -> list[list[Trial]]:
    """Group the trials that had begun and go on by the packs in which they were, the rest of each in one pack.

    A pack has the same values again only if it holds the same trials: what a trial is padded to, and with that the
    rounding of its numbers, depends on the others. So a pack that was lost or paused is tried again as it was. It is
    halved if memory was too short for it, and if trials of it were lost with their process twice in a row: one of them
    may be what ends the process. Halving isolates it, while the others finish.

    Trials that have not begun, and those that failed by their own fault, are left out.

    Args:
        waiting: The waiting trials, whether they had begun or not.
        histories: All attempts of each trial that has had one, in their order, by the trial's id.
    """
    groups: dict[str, list[Trial]] = {}
    for trial in waiting:
        history = histories.get(trial.id)
        if history and _goes_on(history[-1]):
            groups.setdefault(history[-1].pack_id, []).append(trial)
    return [part for group in groups.values() for part in _split(group, [histories[trial.id] for trial in group])]


def _goes_on(attempt: Attempt) -> bool:
    return attempt.outcome in (attempts.LOST, "paused") or (attempt.outcome == "failed" and attempt.cause != "user")


def _split(group: list[Trial], histories: Sequence[Sequence[Attempt]]) -> list[list[Trial]]:
    too_large = any(history[-1].cause == "memory" for history in histories)
    lost_again = any(len(history) > 1 and all(_lost_process(a) for a in history[-2:]) for history in histories)
    size = max(1, len(group) // 2) if too_large or lost_again else len(group)
    return [group[start : start + size] for start in range(0, len(group), size)]


def _lost_process(attempt: Attempt) -> bool:
    return attempt.outcome == attempts.LOST and attempt.cause == "process"


def fresh_packs(
    waiting: Sequence[tuple[Trial, TrialSpec]], needs: ResourcesSpec, capacity: Capacity, repeats: int = 1
) -> list[list[Trial]]:
    """Group trials into packs of the size that the sweep asks for, or as large as is efficient on this cluster.

    Args:
        waiting: Each trial with its specification, without the trials that ``retry_packs`` has grouped.
        needs: The CPUs, the GPUs and the size of a pack, as the sweep asks for them.
        capacity: The cluster. All of it counts, used or not.
        repeats: How many trials each point of the sweep has, which are kept together.
    """
    specs = [spec for _, spec in waiting]
    positions = plan(specs, needs.pack_size, max(1, capacity.total_packs(needs)), needs.gpus, repeats)
    return [[waiting[position][0] for position in pack] for pack in positions]
