"""What each kind of fault does to a simulated world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from service.store.tables import Trial
from tests.simulation.processes import Killed, Process
from tests.simulation.runner import SimulatedRunner
from tests.simulation.schedule import Fault

if TYPE_CHECKING:
    from tests.simulation.world import World

Item = TypeVar("Item")
AWAY_SECONDS = 90.0
"""How long a controller is away that its runners miss."""
CLOCK_SECONDS = 3_600.0
"""By how much the wall clock is set forward or back."""
SILENCE_SECONDS = 200.0
"""How long a runner is stopped that is given up."""
SLACK = {
    "kill controller": 40.0,
    "stop controller": 80.0,
    "controller away for long": 130.0,
    "database error": 5.0,
    "kill runner": 10.0,
    "end runner in Ray": 10.0,
    "stop runner": 45.0,
    "silence runner": 260.0,
    "kill head": 15.0,
    "head away": 45.0,
    "late answers": 15.0,
    "lost answers": 10.0,
    "set clock": 140.0,
    "verb on sweep": 25.0,
    "verb on trial": 25.0,
    "submit": 0.0,
    "rerun or extend": 30.0,
    "change": 30.0,
}
"""By how many seconds a fault may put off the end of the sweeps, beyond the work that it makes necessary again."""


def apply_fault(world: World, fault: Fault, process: Process) -> None:
    """Let a fault happen to the world, at a point that a controller has reached.

    Raises:
        Killed: If the fault kills the controller.
        sqlalchemy.exc.OperationalError: If the fault is an error of the database.
    """
    now, kind, choice = world.clock.now, fault.kind, fault.choice
    if kind in ("kill controller", "controller away for long"):
        world.start_controller(AWAY_SECONDS if kind != "kill controller" else (0.1, 3.0, 20.0)[int(choice * 3)])
        process.doomed = True
        raise Killed
    if kind == "stop controller":
        _stop_controller(world, process, now + 5.0 + 60.0 * choice)
    elif kind == "database error":
        raise OperationalError("BEGIN", None, Exception("database is locked"))
    elif kind in ("kill runner", "end runner in Ray", "stop runner", "silence runner"):
        runner = _pick(world.living_runners(), choice)
        if runner is not None:
            _hurt(runner, kind, now, choice)
    elif kind in ("kill head", "head away"):
        world.lose_head()
        if kind == "kill head":
            world.new_head()
        else:
            world.at(now + 5.0 + 25.0 * choice, world.new_head)
    elif kind == "late answers":
        world.late_until = now + 10.0
    elif kind == "lost answers":
        world.to_lose += 1 + int(choice * 3)
    elif kind == "set clock":
        world.clock.wall_offset += CLOCK_SECONDS if choice > 0.5 else -CLOCK_SECONDS
    elif kind == "submit":
        world.user.submit()
    elif kind == "change":
        if choice > 0.4:  # once others run, the newest sweep becomes the most urgent one
            world.at(now + 5.0 * choice, lambda: world.user.change(list(world.user.sweep_ids)[-1], {"priority": 9}))
            return
        field = "max_parallel" if choice < 0.2 else "priority"
        value = _pick((1, 2, None) if field == "max_parallel" else (-9, 0, 3), (choice * 13) % 1)
        world.user.change(str(_pick(sorted(world.user.sweep_ids), (choice * 7) % 1)), {field: value})
    elif kind == "rerun or extend":
        world.user.go_on(str(_pick(sorted(world.user.sweep_ids), choice)))
    else:
        _verb(world, kind, choice)


def _stop_controller(world: World, process: Process, until: float) -> None:
    """Stop a controller with all its threads, while another one may take the lead."""
    if not any(other.alive and not other.stopped and other is not process for other in world.processes):
        world.start_controller(1.0)
    process.stopped = True
    world.sleep_until(until)
    process.stopped = False
    world.note(f"{process.name} goes on")


def _hurt(runner: SimulatedRunner, kind: str, now: float, choice: float) -> None:
    if kind == "kill runner":
        runner.die("process")
    elif kind == "end runner in Ray":
        runner.die("ordered")
    else:
        runner.stop(now + (SILENCE_SECONDS if kind == "silence runner" else 5.0 + 35.0 * choice))


def _verb(world: World, kind: str, choice: float) -> None:
    subject = _pick(sorted(world.user.sweep_ids), (choice * 7) % 1)
    if kind == "verb on sweep":
        world.user.verb(str(subject), ("pause", "resume", "stop", "cancel", "pause")[int(choice * 5)])
        return
    with world.database.read() as session:
        found = list(session.scalars(select(Trial.id).where(Trial.sweep_id == subject).order_by(Trial.number)))
    trial = _pick(found, (choice * 31) % 1)
    if trial is not None:
        world.user.verb(trial, ("stop", "cancel")[int(choice * 2)])


def _pick(items: Sequence[Item], choice: float) -> Item | None:
    return items[int(choice * len(items))] if items else None
