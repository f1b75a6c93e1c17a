"""The policy of the queue: which sweep starts the next pack, where, and which packs pause for it. No database, no Ray.

The words of the policy are in docs/scheduling.md. In short: the sweep of the highest priority comes first, where long
waiting lifts a sweep up to the highest priority that waits; among equals comes the owner with the smallest share of the
cluster, and of their sweeps the one with the smallest share, the oldest first. A pack that cannot start keeps room, so
that smaller ones do not pass it for ever, and may have packs of lower priority paused.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.controller.node import EXACT, Needs, Node
from service.controller.node_room import ClusterRoom, OpenPack

MOST_PREEMPTIONS = 8
"""So many sweeps at most have packs preempted in one decision; the others follow in the next ones."""


@dataclass(frozen=True)
class QueuedSweep:
    """A sweep that has trials to run.

    Attributes:
        id: Its id.
        owner: Whose it is.
        needs: What one pack of it takes.
        priority: Its priority; the greater comes first.
        max_parallel: How many of its trials may run at the same time; None for any number.
        since: When its last pack has ended, or since when it could have had one, in seconds.
    """

    id: str
    owner: str = "local"
    needs: Needs = field(default_factory=Needs)
    priority: int = 0
    max_parallel: int | None = None
    since: float = 0.0


@dataclass(frozen=True)
class OwnerRules:
    """What an owner may have at a time, and how much of the cluster is theirs when it is short.

    Attributes:
        weight: Their part of the cluster, compared with those of others.
        trials: The most trials that run; None for any number. The next two likewise.
        cpus: The most CPUs of their packs.
        gpus: The most GPUs of their packs.
    """

    weight: float = 1.0
    trials: int | None = None
    cpus: float | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class QueueRules:
    """The numbers of the policy.

    Attributes:
        aging_seconds: So many seconds of waiting count as much as one level of priority.
        preempt_after_seconds: A pack runs at least so long before it can be preempted.
    """

    aging_seconds: float = 600.0
    preempt_after_seconds: float = 60.0


@dataclass(frozen=True)
class Turn:
    """The sweep whose turn it is.

    Attributes:
        sweep: The sweep.
        node: The id of the node for its next pack; None if no node has room now.
        most: How many trials the pack may have; None for any number.
        room_may_come: Whether packs pause, or could be made to pause, so that there would be room for its next pack.
    """

    sweep: QueuedSweep
    node: str | None
    most: int | None
    room_may_come: bool


@dataclass(frozen=True)
class Wait:
    """Why a sweep waits.

    Attributes:
        what: What it waits for, for a person to read.
        in_line: Whether it waits for its turn, so that the sweeps before it matter.
    """

    what: str
    in_line: bool


@dataclass
class _Usage:
    """What packs take: CPUs, GPUs, bytes and trials.

    Attributes:
        share: The dominant share: the largest part of the cluster's CPUs, GPUs or memory that they take.
    """

    cpus: float = 0.0
    gpus: float = 0.0
    memory: float = 0.0
    trials: int = 0
    share: float = 0.0

    def add(self, needs: Needs, trials: int, total: tuple[float, float, float]) -> None:
        """Add a pack of so many trials; ``total`` is what the cluster has."""
        self.cpus += needs.cpus
        self.gpus += needs.gpus
        self.memory += needs.memory
        self.trials += trials
        self.share = max(self.cpus / total[0], self.gpus / total[1], self.memory / total[2])


class FairShare:
    """One decision. Ask for ``turn`` until there is none, and answer each with ``start`` or ``wait``.

    A sweep whose turn is not answered, because it has no trial after all, is left out of the rest of the decision.

    Args:
        nodes: The living nodes.
        open_packs: The packs that are planned or run, in the order in which they were planned.
        queue: The sweeps that have trials to run.
        owners: The rules of owners; one who is not there has the defaults.
        rules: The numbers of the policy.
        now: The present time, on the clock of ``since``.

    Attributes:
        waiting: Why each sweep waits that gets no pack, or not all of its packs, in the order in which they come.
        room: The room on the nodes, of which is taken what was started.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        open_packs: Sequence[OpenPack],
        queue: Sequence[QueuedSweep],
        owners: Mapping[str, OwnerRules],
        rules: QueueRules,
        now: float,
    ) -> None:
        self._rules, self._owners = rules, owners
        self.room = ClusterRoom(nodes, open_packs)
        self.waiting: dict[str, Wait] = {}
        nothing = float("inf")
        self._total = (
            sum(node.cpus for node in nodes) or nothing,
            sum(node.gpus for node in nodes) or nothing,
            float(sum(node.memory for node in nodes)) or nothing,
        )
        self._of_owner, self._of_sweep = defaultdict[str, _Usage](_Usage), defaultdict[str, _Usage](_Usage)
        for pack in open_packs:
            self._of_owner[pack.owner].add(pack.needs, pack.trials, self._total)
            self._of_sweep[pack.sweep_id].add(pack.needs, pack.trials, self._total)
        self._pausing = any(pack.pausing for pack in open_packs)
        may_pause = (p for p in open_packs if not p.pausing and p.seconds >= rules.preempt_after_seconds)
        self._lowest = min((pack.priority for pack in may_pause), default=None)
        self._full: dict[Needs, int] = {}
        self._lacks: dict[Needs, str] = {}
        self._preemptions = 0
        self._levels: dict[int, _Level] = {}
        top = max((sweep.priority for sweep in queue), default=0)
        for sweep in queue:
            self._put(sweep, self._level_of(sweep, now, top))

    def turn(self) -> Turn | None:
        """Return the sweep that comes next; None if no sweep can start or wait for a pack any more."""
        while self._levels:
            level = max(self._levels)
            sweep = self._levels[level].pop(self._share_of)
            if sweep is None:
                del self._levels[level]
                continue
            limit = self._limit(sweep)
            if limit is not None:
                self.waiting.setdefault(sweep.id, Wait(limit, in_line=False))
                continue
            node = self.room.find(sweep.needs)
            if node is None and sweep.needs in self._full and not self._may_preempt(sweep):
                self._keep_waiting(sweep)
                continue
            room_may_come = node is None and (self._pausing or self._may_preempt(sweep))
            return Turn(sweep, node, self._most(sweep), room_may_come)
        return None

    def start(self, turn: Turn, trials: int) -> None:
        """Start a pack of so many trials on the node of the turn. The sweep comes again for further packs."""
        assert turn.node is not None
        self.room.take(turn.node, turn.sweep.needs)
        self._comes_again(turn.sweep, trials)

    def wait(self, turn: Turn, trials: int) -> list[OpenPack]:
        """Keep room for a pack of so many trials that cannot start now, and return the packs that pause for it.

        The sweep comes again if there will be room for this pack as soon as packs have paused.
        """
        sweep = turn.sweep
        below = sweep.priority if self._may_preempt(sweep) else None
        victims = self.room.reserve(sweep.needs, below, self._rules.preempt_after_seconds)
        self._keep_waiting(sweep)
        if victims is None:
            self._full[sweep.needs] = max(sweep.priority, self._full.get(sweep.needs, sweep.priority))
            return []
        self.waiting[sweep.id] = Wait(f"room for {sweep.needs.words}: packs pause to make it", in_line=True)
        self._preemptions += bool(victims)
        self._comes_again(sweep, trials)
        return victims

    def _level_of(self, sweep: QueuedSweep, now: float, top: int) -> int:
        """Return a sweep's priority with what its waiting adds: at most up to ``top``, the highest that waits."""
        if self._of_sweep[sweep.id].cpus:
            return sweep.priority
        aged = int(max(0.0, now - sweep.since) / self._rules.aging_seconds)
        return min(top, sweep.priority + aged)

    def _may_preempt(self, sweep: QueuedSweep) -> bool:
        """Return whether it is worth to look for packs to preempt: for needs for which that failed, it fails again."""
        if self._lowest is None or self._lowest >= sweep.priority or self._preemptions >= MOST_PREEMPTIONS:
            return False
        return sweep.needs not in self._full or self._full[sweep.needs] < sweep.priority

    def _comes_again(self, sweep: QueuedSweep, trials: int) -> None:
        self._of_owner[sweep.owner].add(sweep.needs, trials, self._total)
        self._of_sweep[sweep.id].add(sweep.needs, trials, self._total)
        self._put(sweep, sweep.priority)

    def _put(self, sweep: QueuedSweep, level: int) -> None:
        found = self._levels.setdefault(level, _Level())
        found.put(sweep, self._of_sweep[sweep.id].share, self._share_of(sweep.owner))

    def _share_of(self, owner: str) -> float:
        return self._of_owner[owner].share / self._rules_of(owner).weight

    def _rules_of(self, owner: str) -> OwnerRules:
        return self._owners.get(owner, _DEFAULTS)

    def _most(self, sweep: QueuedSweep) -> int | None:
        """Return how many further trials of a sweep may run; None for any number."""
        trials = self._rules_of(sweep.owner).trials
        bounds = [(sweep.max_parallel, self._of_sweep[sweep.id].trials), (trials, self._of_owner[sweep.owner].trials)]
        return min((most - used for most, used in bounds if most is not None), default=None)

    def _limit(self, sweep: QueuedSweep) -> str | None:
        """Return what keeps a sweep from ever starting a pack here, or until another one has ended; None if nothing."""
        if not self.room.suited(sweep.needs):
            return f"room for {sweep.needs.words}: no node of the cluster is large enough"
        rules, used, own = self._rules_of(sweep.owner), self._of_owner[sweep.owner], self._of_sweep[sweep.id].trials
        if sweep.max_parallel is not None and own >= sweep.max_parallel:
            return f"a trial of its own sweep to end: max_parallel is {sweep.max_parallel}, and {own} run"
        if rules.trials is not None and used.trials >= rules.trials:
            return f"a trial of its owner to end, who may run {rules.trials} and runs {used.trials}"
        for noun, most, taken, more in (
            ("CPUs", rules.cpus, used.cpus, sweep.needs.cpus),
            ("GPUs", rules.gpus, used.gpus, sweep.needs.gpus),
        ):
            if most is not None and more and taken + more > most + EXACT:
                return f"{more:g} of the {most:g} {noun} that its owner may have, of which {taken:g} are taken"
        return None

    def _keep_waiting(self, sweep: QueuedSweep) -> None:
        if sweep.needs not in self._lacks:
            self._lacks[sweep.needs] = f"room for {sweep.needs.words}: {self.room.in_use(sweep.needs)}"
        self.waiting.setdefault(sweep.id, Wait(self._lacks[sweep.needs], in_line=True))


_DEFAULTS = OwnerRules()


class _Level:
    """The sweeps of one level of priority, which come by the shares of their owners, and then by their own."""

    def __init__(self) -> None:
        self._owners: list[tuple[float, float, str]] = []
        self._sweeps: dict[str, list[tuple[float, float, str, QueuedSweep]]] = defaultdict(list)
        self._listed: set[str] = set()

    def put(self, sweep: QueuedSweep, share: float, of_owner: float) -> None:
        """Add a sweep with the share that its packs have, and the one that all packs of its owner have."""
        heapq.heappush(self._sweeps[sweep.owner], (share, sweep.since, sweep.id, sweep))
        if sweep.owner not in self._listed:
            self._list(sweep.owner, of_owner)

    def pop(self, share_of: Callable[[str], float]) -> QueuedSweep | None:
        """Take out and return the sweep that comes first; None if there is none left.

        Args:
            share_of: Returns the share of an owner now, which may have grown since a sweep was added.
        """
        while self._owners:
            share, _, owner = heapq.heappop(self._owners)
            self._listed.discard(owner)
            now = share_of(owner)
            if now > share:
                self._list(owner, now)
                continue
            sweep = heapq.heappop(self._sweeps[owner])[3]
            if self._sweeps[owner]:
                self._list(owner, now)
            return sweep
        return None

    def _list(self, owner: str, share: float) -> None:
        heapq.heappush(self._owners, (share, self._sweeps[owner][0][1], owner))
        self._listed.add(owner)
