"""The room for packs on the nodes of a cluster: now, and once packs that pause have left."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.controller.node import EXACT, Needs, Node, counted


@dataclass(frozen=True)
class OpenPack:
    """A pack that is planned or runs.

    Attributes:
        id: Its id.
        sweep_id: Its sweep.
        owner: Whose sweep that is.
        priority: The priority of the sweep.
        needs: What it takes.
        node: The id of its node; None if that is not known.
        trials: How many of its trials run.
        seconds: For how long it has been there.
        pausing: Whether it was preempted and is about to leave.
    """

    id: str
    sweep_id: str
    owner: str
    priority: int
    needs: Needs
    node: str | None
    trials: int = 1
    seconds: float = 0.0
    pausing: bool = False


class _RoomOfNode:
    """The room on one node: what is free now, and what will be free once the pausing packs have left."""

    def __init__(self, node: Node) -> None:
        self.node, self.packs, self.changes = node, list[OpenPack](), 0
        self.whole = True
        self.cpus, self.memory = node.cpus, float(node.memory)
        self.devices = [1.0] * int(node.gpus + EXACT)
        self.later = [node.cpus, float(len(self.devices)), float(node.memory)]

    def hold(self, pack: OpenPack) -> None:
        """Note a pack that is here."""
        self.packs.append(pack)
        self.whole = self.whole and pack.needs.gpus.is_integer()
        self._take_now(pack.needs)
        if not pack.pausing:
            self.reserve(pack.needs)

    def fits(self, needs: Needs) -> bool:
        """Return whether a pack can start here now, without taking what was reserved."""
        if self.cpus + EXACT < needs.cpus or self.memory < needs.memory or not self.fits_later(needs):
            return False
        return _has_devices(self.devices, needs.gpus)

    def fits_later(self, needs: Needs, freed: Sequence[float] = (0.0, 0.0, 0.0)) -> bool:
        """Return whether there will be room for a pack once the pausing packs have left, and ``freed`` is free too."""
        wanted = (needs.cpus, needs.gpus, float(needs.memory))
        return all(
            have + more + EXACT >= want for have, more, want in zip(self.later, freed, wanted, strict=True) if want
        )

    def lack(self, needs: Needs) -> tuple[float, ...]:
        """Return how much is missing here for a pack: of GPUs, of CPUs and of bytes."""
        cpus, gpus, memory = self.later
        return max(0.0, needs.gpus - gpus), max(0.0, needs.cpus - cpus), max(0.0, needs.memory - memory)

    def take(self, needs: Needs) -> None:
        """Start a pack here."""
        self._take_now(needs)
        self.reserve(needs)

    def reserve(self, needs: Needs) -> None:
        """Keep what will be free for a pack that cannot start yet."""
        self.changes += 1
        self.later = [self.later[0] - needs.cpus, self.later[1] - needs.gpus, self.later[2] - needs.memory]

    def leave(self, pack: OpenPack) -> None:
        """Note that a pack which is here is about to leave."""
        needs = pack.needs
        self.packs.remove(pack)
        self.later = [self.later[0] + needs.cpus, self.later[1] + needs.gpus, self.later[2] + needs.memory]

    def has_devices_without(self, leaving: Iterable[OpenPack], gpus: float) -> bool:
        """Return whether there will be GPUs for a pack once the pausing packs and some others have left.

        ``fits_later`` has counted them already. Where parts of GPUs are taken, they must also lie together.
        """
        if not gpus or (self.whole and gpus.is_integer()):
            return True
        gone, devices = {pack.id for pack in leaving}, [1.0] * len(self.devices)
        for pack in self.packs:
            if not pack.pausing and pack.id not in gone:
                _take_devices(devices, pack.needs.gpus)
        return _has_devices(devices, gpus)

    def _take_now(self, needs: Needs) -> None:
        self.cpus -= needs.cpus
        self.memory -= needs.memory
        _take_devices(self.devices, needs.gpus)


def _has_devices(devices: Sequence[float], gpus: float) -> bool:
    if gpus <= 0:
        return True
    if gpus < 1:
        return any(free + EXACT >= gpus for free in devices)
    return sum(free + EXACT >= 1 for free in devices) + EXACT >= gpus


def _take_devices(devices: list[float], gpus: float) -> None:
    """Take GPUs as Ray does: a part from the GPU with the least room for it, whole ones where nothing runs."""
    if 0 < gpus < 1:
        best = min(range(len(devices)), key=lambda i: (devices[i] + EXACT < gpus, devices[i]), default=None)
        if best is not None:
            devices[best] = max(0.0, devices[best] - gpus)
        return
    for place in sorted(range(len(devices)), key=lambda i: -devices[i])[: int(gpus + EXACT)]:
        devices[place] = 0.0


class ClusterRoom:
    """The room on all nodes during one decision. Packs that are started or wait for room take of it.

    Args:
        nodes: The living nodes.
        open_packs: The packs that are planned or run, in the order in which they were planned.

    Attributes:
        looks: How often a node was looked at, by which the cost of a decision is measured.
    """

    def __init__(self, nodes: Sequence[Node], open_packs: Iterable[OpenPack] = ()) -> None:
        ordered = sorted(nodes, key=lambda node: (node.id, node.name))
        self._rooms = {node.id or node.name: _RoomOfNode(node) for node in ordered}
        self._next: dict[Needs, list[_RoomOfNode]] = {}
        self._suited: dict[Needs, list[_RoomOfNode]] = {}
        self._found: dict[tuple[Needs, int, str], tuple[int, list[OpenPack]]] = {}
        self.looks = 0
        unknown = []
        for pack in open_packs:
            if pack.node is None:
                unknown.append(pack)
            elif pack.node in self._rooms:
                self._rooms[pack.node].hold(pack)
        # nobody knows where these are: planned by an earlier release, which left the choice to Ray
        for pack in unknown:
            room = next((room for room in self.suited(pack.needs) if room.fits(pack.needs)), None)
            if room is not None:
                room.hold(pack)

    def suited(self, needs: Needs) -> list[_RoomOfNode]:
        """Return the nodes that can hold a pack while nothing else runs there."""
        if needs not in self._suited:
            self._suited[needs] = [room for room in self._rooms.values() if room.node.can_hold(needs)]
            self.looks += len(self._rooms)
        return self._suited[needs]

    def find(self, needs: Needs) -> str | None:
        """Return the id of a node on which a pack can start now; None if there is none.

        The fullest node comes first, among those without GPUs if the pack needs none, so that large packs find room.
        As room only becomes less, a node that was too full for such a pack is not looked at again.
        """
        if needs not in self._next:
            order = sorted(self.suited(needs), key=lambda room: (-sum(room.devices), -room.cpus, room.node.id))
            self._next[needs] = order  # the last one is tried first
        rooms = self._next[needs]
        while rooms:
            self.looks += 1
            if rooms[-1].fits(needs):
                return rooms[-1].node.id or rooms[-1].node.name
            rooms.pop()
        return None

    def take(self, node_id: str, needs: Needs) -> None:
        """Start a pack on a node that ``find`` has returned."""
        self._rooms[node_id].take(needs)

    def reserve(self, needs: Needs, below: int | None, seconds: float) -> list[OpenPack] | None:
        """Keep room for a pack that cannot start now, on the node where that takes the least.

        What is kept stays free for it: packs that come later in the decision start only beside it. A node from which
        enough packs are leaving already is taken first; then one on which packs may be preempted; then the one that
        lacks least.

        Args:
            needs: What the pack takes. Some node can hold it.
            below: Packs of a lower priority than this one may be preempted; None if none may.
            seconds: Only packs may be that have been running for so long.

        Returns:
            The packs that have to be preempted, which may be none if enough packs are leaving; None if the pack has to
            wait for packs that nobody ends.
        """
        suited = self.suited(needs)
        self.looks += len(suited)
        for room in suited:
            if room.fits_later(needs) and room.has_devices_without((), needs.gpus):
                room.reserve(needs)
                return []
        chosen: tuple[tuple[float, ...], _RoomOfNode, list[OpenPack]] | None = None
        for room in suited if below is not None else ():
            assert below is not None
            key = needs, below, room.node.id or room.node.name
            if key not in self._found or self._found[key][0] != room.changes:
                self._found[key] = room.changes, self._victims(room, needs, below, seconds)
            victims = self._found[key][1]
            if victims:
                cost = (max(pack.priority for pack in victims), len(victims), sum(pack.seconds for pack in victims))
                if chosen is None or cost < chosen[0]:
                    chosen = cost, room, victims
        if chosen is None:
            min(suited, key=lambda room: room.lack(needs)).reserve(needs)
            return None
        _, room, victims = chosen
        for pack in victims:
            room.leave(pack)
        room.reserve(needs)
        return victims

    def _victims(self, room: _RoomOfNode, needs: Needs, below: int, seconds: float) -> list[OpenPack]:
        """Return the packs of a node that make room for another one: the lowest priority first, then the newest.

        None of them could stay. The list is empty if even all that may be preempted do not make room.
        """
        self.looks += 1
        may = [p for p in room.packs if p.priority < below and p.seconds >= seconds and not p.pausing]
        may.sort(key=lambda pack: (pack.priority, pack.seconds, pack.id))
        victims: list[OpenPack] = []
        for pack in may:
            victims.append(pack)
            if self._make_room(room, needs, victims):
                break
        else:
            return []
        for pack in victims[::-1]:
            fewer = [other for other in victims if other is not pack]
            if self._make_room(room, needs, fewer):
                victims = fewer
        return victims

    def _make_room(self, room: _RoomOfNode, needs: Needs, leaving: Sequence[OpenPack]) -> bool:
        self.looks += 1
        freed = (
            sum(pack.needs.cpus for pack in leaving),
            sum(pack.needs.gpus for pack in leaving),
            float(sum(pack.needs.memory for pack in leaving)),
        )
        return room.fits_later(needs, freed) and room.has_devices_without(leaving, needs.gpus)

    def in_use(self, needs: Needs) -> str:
        """Return what a pack lacks that fits on no node now, as in ``8 of 8 GPUs are in use``."""
        rooms = self.suited(needs)
        gpus = sum(len(room.devices) for room in rooms), sum(sum(room.devices) for room in rooms)
        cpus = sum(room.node.cpus for room in rooms), sum(max(0.0, room.cpus) for room in rooms)
        memory = sum(room.node.memory for room in rooms), sum(max(0.0, room.memory) for room in rooms)
        if needs.gpus and not any(_has_devices(room.devices, needs.gpus) for room in rooms):
            return f"{gpus[0] - gpus[1]:.4g} of {counted(gpus[0], 'GPU')} are in use"
        if not any(room.cpus + EXACT >= needs.cpus for room in rooms):
            return f"{cpus[0] - cpus[1]:.4g} of {counted(cpus[0], 'CPU')} are in use"
        if needs.memory and not any(room.memory >= needs.memory for room in rooms):
            return f"{(memory[0] - memory[1]) / 2**30:.3g} of {memory[0] / 2**30:.3g} GiB of memory are in use"
        return "what is free is kept for others or spread over several nodes"
