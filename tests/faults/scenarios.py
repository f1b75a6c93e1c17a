"""What users of such services fear most, by name: schedules that are not drawn but written down, and a poison trial.

That Ray's head is replaced between two looks of the controller, and that the reply to a new run is lost on its way from
MLflow, are drawn as faults too; each has a test of its own with nothing around it, in ``tests/end_to_end`` and in
``tests/service/tracking``.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from service.store.tables import Pack, Trial
from tests.faults import outcome, processes, sweep_state
from tests.faults.documents import Json
from tests.faults.living_stack import CPUS, LivingStack
from tests.faults.outcome import SweepOutcome
from tests.faults.schedule import Schedule
from tests.waiting import until

SCENARIOS: dict[str, Schedule] = {
    "a healthy job whose controller was away for long goes on": Schedule(
        2, "pairs", None, "a first report", ("freeze controller",)
    ),
    "a cancelled sweep does not go on when its controller dies": Schedule(
        0, "pairs", "cancel", "at once", ("kill controller",)
    ),
    "a resumed sweep has no point twice": Schedule(0, "pairs", "pause", "at once", ("kill mlflow", "kill controller")),
    "a killed trial is not a failed one": Schedule(0, "alone", None, "in the middle", ("kill runner",)),
}
"""By the sentence that has to hold. The oracle knows when it does not."""

POISONED = 11
TRIALS = 32
POISON_SECONDS = 900.0
POISON: Json = {
    "name": "poison",
    "task": {"name": "adding", "length": 20},
    "model": {"hidden_size": 8},
    "training": {"steps": 40, "batch_size": 8, "report_every": 20},
    "space": {"training.seed": {"values": list(range(TRIALS))}},
    # one runner at a time, so that the one that lives is the one that holds the poison
    "resources": {"pack_size": TRIALS, "cpus": CPUS},
    "retries": {"infrastructure": 1},
}
MOST_ATTEMPTS = 2 * (int(math.log2(TRIALS)) + 2)
"""Attempts of a trial beside the poison: each size of pack once more than to halve it."""


def poison(stack: LivingStack) -> SweepOutcome:
    """Run a pack of 32 trials of which one ends its process each time, as by a fault in the code of its GPU."""
    sweep_id = stack.client.submit(POISON)["id"]
    with _poisoning(stack, sweep_id):
        until(lambda: sweep_state.has_ended(stack.database, sweep_id), POISON_SECONDS)
    return outcome.of_tables(stack, sweep_id)


@contextmanager
def _poisoning(stack: LivingStack, sweep_id: str) -> Iterator[None]:
    """Kill each runner that has been given the poisoned trial."""
    done = threading.Event()

    def run() -> None:
        while not done.wait(0.1):
            with suppress(SQLAlchemyError):
                if _holds_poison(stack, sweep_id):
                    processes.send(processes.find(stack.home, "runner"), signal.SIGKILL)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _holds_poison(stack: LivingStack, sweep_id: str) -> bool:
    with stack.database.read() as session:
        poisoned = session.scalar(select(Trial.id).where(Trial.sweep_id == sweep_id, Trial.number == POISONED))
        packs = session.scalars(select(Pack).where(Pack.sweep_id == sweep_id, Pack.state == "started"))
        return any(poisoned in pack.trial_ids and pack.seen_at is not None for pack in packs)
