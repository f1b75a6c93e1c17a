"""A cluster in which packs run in simulated seconds and the policy of the queue decides alone: no database, no Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from service.controller.fair_share import FairShare, OwnerRules, QueuedSweep, QueueRules
from service.controller.node import Node
from service.controller.node_room import OpenPack
from workers.spec.node_labels import has_labels

PAUSE_SECONDS = 2.0
"""How long a preempted pack goes on, until its checkpoint is written."""


@dataclass(frozen=True)
class Work:
    """A sweep: when it comes, how many trials it has, how many of them make a pack, and how long a pack takes."""

    sweep: QueuedSweep
    trials: int
    pack_size: int = 1
    seconds: float = 10.0
    arrives: float = 0.0


@dataclass
class _Running:
    pack: OpenPack
    started: float
    left: float
    leaves: float | None = None


class SimulatedQueue:
    """Runs sweeps by the policy, and checks at every decision what must hold.

    Attributes:
        seconds_of: The CPU or GPU seconds that each sweep has had.
        ended_at: When each sweep ended.
        preempted: How often a pack of each sweep was preempted.
        looks: The most looks at nodes of one decision.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        works: Sequence[Work],
        owners: Mapping[str, OwnerRules] | None = None,
        rules: QueueRules | None = None,
        tick: float = 1.0,
    ) -> None:
        self.nodes, self.owners, self.rules = nodes, owners or {}, rules or QueueRules(60.0, 5.0)
        self.now, self._tick, self._numbers = 0.0, tick, 0
        self._works = {work.sweep.id: work for work in works}
        self._left: dict[str, list[tuple[int, float]]] = {
            id: _packs(work.trials, work.pack_size, work.seconds) for id, work in self._works.items()
        }
        self.running: dict[str, _Running] = {}
        self._since = {id: work.arrives for id, work in self._works.items()}
        self.seconds_of, self.preempted = Counter[str](), Counter[str]()
        self.ended_at: dict[str, float] = {}
        self.looks = 0
        self.waiting: dict[str, str] = {}

    def run(self, until: float, at_each: Callable[[], None] = lambda: None) -> None:
        """Go on until everything has ended, at most until a moment."""
        while self.now < until and len(self.ended_at) < len(self._works):
            self.decide()
            at_each()
            self.now += self._tick
            self._go_on()

    def open_packs(self, sweep_id: str | None = None) -> list[OpenPack]:
        """Return what runs now, of one sweep or of all."""
        found = [replace(r.pack, seconds=self.now - r.started) for r in self.running.values()]
        return [pack for pack in found if sweep_id in (None, pack.sweep_id)]

    def change(self, sweep_id: str, **fields: object) -> None:
        """Change a sweep while it runs."""
        work = self._works[sweep_id]
        self._works[sweep_id] = replace(work, sweep=replace(work.sweep, **fields))  # type: ignore[arg-type]

    def decide(self) -> None:
        """Take one decision, carry it out, and check it."""
        queue = [
            replace(self._works[id].sweep, since=self._since[id])
            for id, left in self._left.items()
            if left and self._works[id].arrives <= self.now
        ]
        before = [replace(p, priority=self._works[p.sweep_id].sweep.priority) for p in self.open_packs()]
        decision = FairShare(self.nodes, before, queue, self.owners, self.rules, self.now)
        blocked, started = Counter[str](), set[str]()
        while (turn := decision.turn()) is not None:
            left, place = self._left[turn.sweep.id], blocked[turn.sweep.id]
            if place >= len(left):
                continue
            trials, seconds = left[place]
            if turn.most is not None and turn.most < trials:
                assert turn.most > 0
                left[place : place + 1] = [(turn.most, seconds), (trials - turn.most, seconds)]
                trials = turn.most
            if turn.node is None:
                if not blocked:
                    self._check_blocked(turn.sweep)
                blocked[turn.sweep.id] += 1
                for victim in decision.wait(turn, trials):
                    self._preempt(victim, turn.sweep)
                continue
            assert not place, "room only becomes less"
            left.pop(0)
            decision.start(turn, trials)
            self._start(turn.sweep, turn.node, trials, seconds)
            started.add(turn.sweep.id)
        self.waiting = {id: wait.what for id, wait in decision.waiting.items()}
        self.looks = max(self.looks, decision.room.looks)
        self._check(started)

    def _start(self, sweep: QueuedSweep, node: str, trials: int, seconds: float) -> None:
        self._numbers += 1
        id = f"p{self._numbers}"
        pack = OpenPack(id, sweep.id, sweep.owner, sweep.priority, sweep.needs, node, trials)
        self.running[id] = _Running(pack, self.now, seconds)

    def _preempt(self, victim: OpenPack, by: QueuedSweep) -> None:
        running = self.running[victim.id]
        assert self._works[victim.sweep_id].sweep.priority < by.priority, "only a strictly lower priority is preempted"
        assert self.now - running.started >= self.rules.preempt_after_seconds, "a pack runs for a while first"
        assert not running.pack.pausing, "nothing is preempted twice"
        running.pack = replace(running.pack, pausing=True)
        running.leaves = self.now + PAUSE_SECONDS
        self.preempted[victim.sweep_id] += 1

    def _go_on(self) -> None:
        for running in list(self.running.values()):
            pack = running.pack
            running.left -= self._tick
            self.seconds_of[pack.sweep_id] += self._tick * (pack.needs.gpus or pack.needs.cpus)  # type: ignore[assignment]
            if running.left > 0 and (running.leaves is None or self.now < running.leaves):
                continue
            del self.running[pack.id]
            if running.left > 0:
                self._left[pack.sweep_id].insert(0, (pack.trials, running.left))
            self._since[pack.sweep_id] = self.now
            if not self._left[pack.sweep_id] and not self.open_packs(pack.sweep_id):
                self.ended_at[pack.sweep_id] = self.now

    def _check(self, started: set[str]) -> None:
        """Check that no node, no sweep and no owner has more than it may."""
        by_id = {node.id or node.name: node for node in self.nodes}
        used: dict[str, list[float]] = {id: [0.0, 0.0, 0.0] for id in by_id}
        trials, of_owner = Counter[str](), Counter[str]()
        cpus, gpus = Counter[str](), Counter[str]()
        for running in self.running.values():
            pack, needs = running.pack, running.pack.needs
            node = by_id[pack.node or ""]
            assert has_labels(node.labels, dict(needs.labels))
            for place, amount in enumerate((needs.cpus, needs.gpus, needs.memory)):
                used[pack.node or ""][place] += amount
            trials[pack.sweep_id] += pack.trials
            of_owner[pack.owner] += pack.trials
            cpus[pack.owner] += needs.cpus  # type: ignore[assignment]
            gpus[pack.owner] += needs.gpus  # type: ignore[assignment]
        for id, amounts in used.items():
            node = by_id[id]
            for amount, most in zip(amounts, (node.cpus, node.gpus, node.memory), strict=True):
                assert amount <= most + 1e-6
        for id in started:  # after max_parallel was lowered, more may run than that, but none starts
            most_of = self._works[id].sweep.max_parallel
            assert most_of is None or trials[id] <= most_of
        for owner, rules in self.owners.items():
            assert rules.trials is None or of_owner[owner] <= rules.trials
            assert rules.cpus is None or cpus[owner] <= rules.cpus + 1e-6
            assert rules.gpus is None or gpus[owner] <= rules.gpus + 1e-6

    def _check_blocked(self, sweep: QueuedSweep) -> None:
        """Check that no node has room for the first sweep in line that did not start."""
        for node in self.nodes:
            here = [r.pack for r in self.running.values() if r.pack.node == (node.id or node.name)]
            if not node.can_hold(sweep.needs) or (sweep.needs.gpus and sweep.needs.gpus < 1):
                continue
            whole = all(pack.needs.gpus == int(pack.needs.gpus) for pack in here)
            free = (
                node.cpus - sum(pack.needs.cpus for pack in here),
                node.gpus - sum(pack.needs.gpus for pack in here),
                node.memory - sum(pack.needs.memory for pack in here),
            )
            wanted = sweep.needs.cpus, sweep.needs.gpus, sweep.needs.memory
            fits = all(have + 1e-9 >= want for have, want in zip(free, wanted, strict=True))
            assert not (fits and whole), f"{sweep.id} is first in line, and there is room on {node.name}"


def _packs(trials: int, size: int, seconds: float) -> list[tuple[int, float]]:
    return [(min(size, trials - first), seconds) for first in range(0, trials, size)]
