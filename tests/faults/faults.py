"""The faults: what each of them does to a stack, how it is undone, and what it may do to a sweep."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import psutil
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from tests.faults import processes
from tests.faults.living_stack import LivingStack
from tests.faults.moments import BEFORE, UNANSWERED
from tests.faults.processes import Part
from tests.faults.reply_proxy import Act, Rule
from tests.waiting import until

CLOCK_SECONDS = 3_600.0
"""How far the clock is set back."""
FIND_SECONDS = 30.0
"""How long a process may be away that is to be hit, for instance because it is being restarted."""


class NothingToHit(Exception):
    """The process that a fault is for does not run, and does not come."""


class Undo(NamedTuple):
    """What ends a fault, and how many seconds after its begin."""

    seconds: float
    act: Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """One way in which a stack is disturbed.

    Attributes:
        act: Begins the fault, and returns what ends it; None if nothing has to. It may raise NothingToHit.
        moments: The moments at which it can begin.
        charges: Whether a trial that is alone in its pack may be charged a failure.
        spares_runners: Whether all trials go on as if nothing had happened.
        needs: Returns why the fault cannot be had with a stack; empty if it can.
    """

    act: Callable[[LivingStack, random.Random], Undo | None]
    moments: tuple[str, ...]
    charges: bool = False
    spares_runners: bool = False
    needs: Callable[[LivingStack], str] = lambda _stack: ""


def _living(stack: LivingStack, part: Part) -> list[psutil.Process]:
    try:
        return until(lambda: processes.find(stack.home, part), FIND_SECONDS)
    except AssertionError:
        raise NothingToHit(part) from None


def _hit(stack: LivingStack, part: Part, chance: random.Random) -> list[psutil.Process]:
    """Return the processes of a part that are hit: one runner of several, MLflow with its workers, else its first."""
    found = _living(stack, part)
    if part == "mlflow":
        return [*found[:1], *found[0].children(recursive=True)]
    return [chance.choice(found)] if part == "runner" else found[:1]


def _kill(part: Part, stack: LivingStack, chance: random.Random) -> None:
    processes.send(_hit(stack, part, chance), signal.SIGKILL)


def _freeze(part: Part, least: float, most: float, stack: LivingStack, chance: random.Random) -> Undo:
    hit = _hit(stack, part, chance)
    processes.send(hit, signal.SIGSTOP)
    return Undo(chance.uniform(least, most), partial(processes.send, hit, signal.SIGCONT))


def _kill_supervisor(stack: LivingStack, _chance: random.Random) -> Undo:
    stack.signal_supervisor(signal.SIGKILL)
    return Undo(0.0, stack.start)


def _freeze_supervisor(stack: LivingStack, chance: random.Random) -> Undo:
    stack.signal_supervisor(signal.SIGSTOP)
    return Undo(chance.uniform(2.0, 15.0), partial(stack.signal_supervisor, signal.SIGCONT))


def _kill_postgres(stack: LivingStack, chance: random.Random) -> Undo:
    assert stack.postgres is not None
    stack.postgres.kill()
    return Undo(chance.uniform(0.0, 5.0), stack.postgres.revive)


def _freeze_postgres(stack: LivingStack, chance: random.Random) -> Undo:
    assert stack.postgres is not None
    hit = stack.postgres.processes
    processes.send(hit, signal.SIGSTOP)
    return Undo(chance.uniform(3.0, 12.0), partial(processes.send, hit, signal.SIGCONT))


def _disturb_mlflow(act: Act, stack: LivingStack, chance: random.Random) -> Undo:
    """Let a rule take some of the requests that write, the first of each kind among them or not."""
    for path in ("runs/create$", "runs/log-batch$", "runs/update$", "experiments/create$", "model-versions/create$"):
        stack.proxy.add(Rule("POST", path, act, nth=chance.randint(1, 3), times=2, seconds=chance.uniform(1.0, 35.0)))
    return Undo(30.0, stack.proxy.clear)


def _lose_first_run(stack: LivingStack, _chance: random.Random) -> Undo:
    stack.proxy.add(Rule("POST", "runs/create$", "drop reply"))
    return Undo(30.0, stack.proxy.clear)


def _cut_mlflow(stack: LivingStack, chance: random.Random) -> Undo:
    stack.proxy.cut()
    return Undo(chance.uniform(3.0, 20.0), stack.proxy.mend)


def _cut_database(stack: LivingStack, chance: random.Random) -> Undo:
    assert stack.relay is not None
    stack.relay.cut()
    return Undo(chance.uniform(1.0, 10.0), stack.relay.mend)


def _hold_database(least: float, most: float, stack: LivingStack, chance: random.Random) -> Undo:
    """Keep a transaction open that every other writer waits for, as soon as the database can be reached."""
    connection = _connection(stack)
    if stack.kind == "postgresql":
        connection.execute(text("LOCK TABLE sweeps, trials, packs IN EXCLUSIVE MODE"))
    else:
        connection.execute(text("SELECT 1"))  # our begin takes SQLite's lock for writing

    def release() -> None:
        connection.rollback()
        connection.close()

    return Undo(chance.uniform(least, most), release)


def _connection(stack: LivingStack) -> Connection:
    """Connect to the database; wait for it if another fault has ended its server."""
    engine, patience = stack.database.engine.execution_options(write=True), time.monotonic() + FIND_SECONDS
    while True:
        try:
            return engine.connect()
        except OperationalError:
            if time.monotonic() > patience:
                raise NothingToHit("the database") from None
            time.sleep(0.2)


def _kill_in_an_open_ask(stack: LivingStack, chance: random.Random) -> None:
    """Kill the controller while what it has asked of the sampler waits for its commit."""
    hold = _hold_database(1.5, 1.5, stack, chance)
    time.sleep(hold.seconds)
    _kill("controller", stack, chance)
    hold.act()


def _fill_checkpoints(stack: LivingStack, chance: random.Random) -> Undo:
    stack.checkpoint_disk.fill()
    return Undo(chance.uniform(5.0, 20.0), stack.checkpoint_disk.mend)


def _checkpoints_read_only(stack: LivingStack, chance: random.Random) -> Undo:
    stack.checkpoint_disk.make_read_only()
    return Undo(chance.uniform(5.0, 20.0), stack.checkpoint_disk.mend)


def _fill_database(stack: LivingStack, chance: random.Random) -> Undo:
    stack.database_disk.fill()
    return Undo(chance.uniform(3.0, 15.0), stack.database_disk.mend)


def _set_clock_back(stack: LivingStack, chance: random.Random) -> None:
    """Leave the tables as a clock does that is set back while the leader dies: with times that are still to come."""
    _kill("controller", stack, chance)
    with stack.database.write() as session:
        for table, columns in (
            ("leases", ("expires_at",)),
            ("components", ("at",)),
            ("packs", ("created_at", "seen_at")),
            ("attempts", ("started_at",)),
        ):
            changes = ", ".join(f"{column} = {column} + {CLOCK_SECONDS}" for column in columns)
            session.execute(text(f"UPDATE {table} SET {changes}"))


def _replace_head_unseen(stack: LivingStack, chance: random.Random) -> None:
    """Replace Ray's head, with the same address, while the controller does not look."""
    controller, head = _hit(stack, "controller", chance), _hit(stack, "gcs", chance)
    processes.send(controller, signal.SIGSTOP)
    try:
        processes.send(head, signal.SIGKILL)
        gone = {process.pid for process in head}
        until(lambda: [p for p in processes.find(stack.home, "gcs") if p.pid not in gone], FIND_SECONDS)
        _living(stack, "raylet")
    finally:
        processes.send(controller, signal.SIGCONT)


def _needs_postgres(stack: LivingStack) -> str:
    return "" if stack.postgres is not None else "SQLite is no process, and is reached without a network"


def _needs_sqlite_disk(stack: LivingStack) -> str:
    if stack.postgres is not None:
        return "PostgreSQL's own files are not on a small disk"
    return _needs_disk(stack)


def _needs_disk(stack: LivingStack) -> str:
    return "" if stack.checkpoint_disk.mounted else "this process may not mount a disk"


EARLY = (UNANSWERED, "at once", "a pack planned, not started")
TRAINING = ("a first report", "a checkpoint half written", "in the middle")
LATE = ("a trial ended, its end not read", "the outbox half drained")
ANY = (*EARLY, *TRAINING, *LATE)

FAULTS: dict[str, Fault] = {
    "kill api": Fault(partial(_kill, "api"), ANY, spares_runners=True),
    "kill controller": Fault(partial(_kill, "controller"), ANY, spares_runners=True),
    "kill runner": Fault(partial(_kill, "runner"), (*TRAINING, "a trial ended, its end not read"), charges=True),
    "kill raylet": Fault(partial(_kill, "raylet"), ANY, charges=True),
    "kill gcs": Fault(partial(_kill, "gcs"), ANY),
    "kill ray": Fault(partial(_kill, "ray"), ANY),
    "kill mlflow": Fault(partial(_kill, "mlflow"), ANY, spares_runners=True),
    "kill postgres": Fault(_kill_postgres, ANY, spares_runners=True, needs=_needs_postgres),
    "kill supervisor": Fault(_kill_supervisor, ANY),
    "kill controller in an open ask": Fault(_kill_in_an_open_ask, ("at once",), spares_runners=True),
    "replace ray's head unseen": Fault(_replace_head_unseen, ANY),
    "freeze api": Fault(partial(_freeze, "api", 2, 20), ANY, spares_runners=True),
    "freeze controller": Fault(partial(_freeze, "controller", 3, 25), ANY, spares_runners=True),
    "freeze runner": Fault(partial(_freeze, "runner", 2, 15), TRAINING, spares_runners=True),
    "freeze raylet": Fault(partial(_freeze, "raylet", 2, 15), ANY, charges=True),
    "freeze gcs": Fault(partial(_freeze, "gcs", 2, 15), ANY, charges=True),
    "freeze ray": Fault(partial(_freeze, "ray", 2, 15), ANY, spares_runners=True),
    "freeze mlflow": Fault(partial(_freeze, "mlflow", 5, 40), ANY, spares_runners=True),
    "freeze postgres": Fault(_freeze_postgres, ANY, spares_runners=True, needs=_needs_postgres),
    "freeze supervisor": Fault(_freeze_supervisor, ANY, spares_runners=True),
    "lose the reply to a first run": Fault(_lose_first_run, (BEFORE,), spares_runners=True),
    "drop mlflow's replies": Fault(partial(_disturb_mlflow, "drop reply"), (BEFORE,), spares_runners=True),
    "delay mlflow's replies": Fault(partial(_disturb_mlflow, "delay reply"), (BEFORE,), spares_runners=True),
    "repeat mlflow's requests": Fault(partial(_disturb_mlflow, "repeat request"), (BEFORE,), spares_runners=True),
    "cut mlflow off": Fault(_cut_mlflow, ANY, spares_runners=True),
    "cut the database off": Fault(_cut_database, ANY, spares_runners=True, needs=_needs_postgres),
    "hold the database": Fault(partial(_hold_database, 5, 15), ANY, spares_runners=True),
    "full checkpoint disk": Fault(_fill_checkpoints, ("at once", *TRAINING), needs=_needs_disk),
    "read-only checkpoint disk": Fault(_checkpoints_read_only, ("at once", *TRAINING), needs=_needs_disk),
    "full database disk": Fault(_fill_database, ANY, spares_runners=True, needs=_needs_sqlite_disk),
    "clock set back": Fault(_set_clock_back, ANY, spares_runners=True),
}
"""By name. A new one needs a line here, and nothing else."""
PAIRED = (
    "kill api",
    "kill controller",
    "kill runner",
    "kill gcs",
    "kill mlflow",
    "freeze controller",
    "hold the database",
)
"""The faults that are drawn as a second one, right after a first."""
