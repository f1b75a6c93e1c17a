"""Which trials share a pack, without the database, and how many packs the cluster's nodes can hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.controller.node import Needs, Node
from service.store import attempts
from service.store.tables import Attempt, Trial
from workers.runtime.pack_planner import plan
from workers.spec.resources import ResourcesSpec
from workers.spec.trial import TrialSpec


@dataclass(frozen=True)
class Capacity:
    """What the cluster can hold.

    Attributes:
        nodes: The nodes of the cluster.
    """

    nodes: Sequence[Node]

    def can_ever_hold(self, needs: Needs) -> bool:
        """Return whether some node is large enough for one pack while nothing else runs on it."""
        return any(node.can_hold(needs) for node in self.nodes)

    def total_packs(self, needs: ResourcesSpec) -> int:
        """Return how many packs fit on the nodes of the cluster, each on one node, while nothing runs on them."""
        return sum(node.packs_of(Needs.of(needs)) for node in self.nodes)


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
