"""A fake Ray: a head with actors by name, connections to it that can turn stale, and calls that are late or lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ray.exceptions import ActorDiedError, ActorUnavailableError, RaySystemError, RayTaskError

from service.controller.cluster import ClusterUnreachable, Death
from service.controller.node import Node
from tests.simulation.runner import SimulatedRunner
from workers.protocol import Assignment, StaleTerm

if TYPE_CHECKING:
    from tests.simulation.world import World

NEVER = float("inf")


@dataclass
class Head:
    """A Ray head with all of its actors. Another head has another identity and knows none of them."""

    identity: str
    actors: dict[str, SimulatedRunner] = field(default_factory=dict)

    def living(self, name: str) -> SimulatedRunner | None:
        """Return the living actor with a name; None if there is none."""
        runner = self.actors.get(name)
        return runner if runner is not None and runner.death is None else None


@dataclass(eq=False)
class Call:
    """A call of an actor: what ``remote()`` returns.

    Attributes:
        answer_at: When the answer or the error arrives.
        result: The answer, or the error that ``get`` raises.
    """

    answer_at: float
    result: Any = None


class Method:
    """One method of an actor, as ``handle.poll`` is."""

    def __init__(self, world: World, runner: SimulatedRunner, act: Callable[..., Any]) -> None:
        self._world, self._runner, self._act = world, runner, act

    def remote(self, *arguments: Any) -> Call:
        """Send the call. It is carried out now, or later in the order of time; its answer may be late or lost."""
        world, runner = self._world, self._runner
        delay, lost = world.draw_delay()
        call = Call(NEVER)

        def arrive() -> None:
            now = world.clock.now
            runner.run_until(now)
            if runner.stopped_until > now:
                world.at(runner.stopped_until, arrive)
                return
            if runner.death is not None:
                call.result = ActorDiedError()
            elif lost:
                self._try(arguments)
                call.result = ActorUnavailableError("the reply was lost", None)
            else:
                call.result = self._try(arguments)
            call.answer_at = now + delay

        if delay:
            world.at(world.clock.now + delay, arrive)
        else:
            arrive()
        return call

    def _try(self, arguments: tuple[Any, ...]) -> Any:
        try:
            return self._act(*arguments, self._world.clock.now)
        except StaleTerm as error:
            return RayTaskError("runner", str(error), error)


class Handle:
    """What ``ray.get_actor`` returns: the methods of a runner."""

    def __init__(self, world: World, runner: SimulatedRunner) -> None:
        self.poll = Method(world, runner, runner.poll)
        self.command = Method(world, runner, runner.command)


class RayModule:
    """The functions of the module ``ray`` that ``runner_requests`` uses."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wait(self, calls: Sequence[Call], num_returns: int, timeout: float) -> tuple[list[Call], list[Call]]:
        """Return the calls that are answered within ``timeout`` seconds, and the others."""
        world = self._world
        deadline = world.clock.now + timeout
        while True:
            last = max(call.answer_at for call in calls)
            if last <= world.clock.now or world.clock.now >= deadline:
                break
            world.sleep_until(min(last, deadline))
        ready = [call for call in calls if call.answer_at <= world.clock.now]
        return ready, [call for call in calls if call not in ready]

    def get(self, call: Call) -> Any:
        """Return the answer of a call that ``wait`` has found ready, or raise its error."""
        if isinstance(call.result, Exception):
            raise call.result
        return call.result


class SimulatedCluster:
    """Takes the place of ``service.controller.cluster.Cluster`` in one simulated controller."""

    def __init__(self, world: World, *_settings: Any) -> None:
        self._world = world
        self._head: Head | None = None
        self.identity = ""
        self.connections = 0

    @property
    def connected(self) -> bool:
        """Whether a connection was made and not closed. Its head may have gone since."""
        return bool(self.identity)

    def connect(self) -> None:
        """Connect to the head that is there now; raise ClusterUnreachable if there is none."""
        self._world.point("connect")
        if self._world.head is None:
            raise ClusterUnreachable("no head")
        self._head = self._world.head
        self.identity = self._head.identity
        self.connections += 1

    def check(self) -> None:
        """Raise ClusterUnreachable, and close the connection, unless it leads to the head that is there now."""
        self._world.point("check")
        if self._head is None or self._head is not self._world.head:
            self.close()
            raise ClusterUnreachable("the head is gone, or another has taken its place")

    def close(self) -> None:
        """Close the connection."""
        self._head, self.identity = None, ""

    def nodes(self) -> list[Node]:
        """Return the one node; raise ClusterUnreachable unless the connection is good."""
        self.check()
        return [Node("node", self._world.schedule.cpus, 0.0)]

    def find(self, name: str) -> Handle | None:
        """Return the handle of a living actor."""
        runner = self._reachable().living(name)
        return Handle(self._world, runner) if runner else None

    def start(self, assignment: Assignment, name: str) -> Handle:
        """Return the handle of the living actor with this name, or of a new one."""
        self._world.point("before an actor is started")
        head = self._reachable()
        runner = head.living(name)
        if runner is None:
            runner = head.actors[name] = self._world.new_runner(assignment)
        self._world.point("after an actor was started")
        return Handle(self._world, runner)

    def kill(self, name: str) -> None:
        """Have Ray end an actor."""
        self._world.point("before an actor is ended")
        runner = self._reachable().living(name)
        if runner is not None:
            runner.run_until(self._world.clock.now)
            runner.die("ordered")
        self._world.point("after an actor was ended")

    def death(self, name: str) -> Death:
        """Return what was lost with an actor that does not live any more."""
        self.check()
        runner = self._reachable().actors.get(name)
        ordered = runner is not None and runner.death is not None and runner.death.cause == "ordered"
        return Death("preemption", "somebody ended it") if ordered else Death("process")

    def runners(self) -> list[str]:
        """Return the names of the living actors."""
        return [name for name, runner in self._reachable().actors.items() if runner.death is None]

    def _reachable(self) -> Head:
        """Return the head of this connection; raise what Ray raises if it is not there any more."""
        if self._head is None or self._head is not self._world.head:
            raise RaySystemError("the connection leads to no head that is there")
        return self._head
