"""Runs schedules one after another against a living stack, and keeps the logs of those that violate a promise."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.faults import outcome, sweep_state
from tests.faults.disturbance import END_SECONDS, Disturbance, slack
from tests.faults.documents import DOCUMENTS
from tests.faults.living_stack import DatabaseKind, LivingStack
from tests.faults.oracle import Violation
from tests.faults.outcome import SweepOutcome
from tests.faults.schedule import Schedule
from tests.waiting import until


@dataclass(frozen=True)
class Verdict:
    """How one schedule ended.

    Attributes:
        schedule: The schedule.
        kind: The kind of the stack's database.
        violations: The promises that were not kept.
        recovery: Seconds from the fault until the service was ready and each trial that it found running had got
            further, or had ended; None if that did not happen.
        missed: Whether a fault was not injected, because the sweep ended before its moment or had no such process.
        seconds: How long the schedule took.
    """

    schedule: Schedule
    kind: DatabaseKind
    violations: tuple[Violation, ...]
    recovery: float | None
    missed: bool
    seconds: float


class Harness:
    """Keeps a stack of one kind of database, and starts a new one if a schedule has broken it. A context manager.

    Args:
        kind: The kind of the database.
        folder: Where the logs of schedules are kept that have violated a promise.
        undisturbed: Undisturbed runs by the name of their document; those that are missing are run and added.
    """

    def __init__(self, kind: DatabaseKind, folder: Path, undisturbed: dict[str, SweepOutcome]) -> None:
        self._kind, self._kept, self._undisturbed = kind, folder, undisturbed
        self._stack: LivingStack | None = None
        self._open = ExitStack()

    def __enter__(self) -> Harness:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    @property
    def stack(self) -> LivingStack:
        """The stack, which is started when it is first asked for."""
        if self._stack is None:
            folder = Path(tempfile.mkdtemp(prefix="spectral-faults-"))
            self._open.callback(shutil.rmtree, folder, ignore_errors=True)
            self._stack = self._open.enter_context(LivingStack(folder, self._kind))
        return self._stack

    def run(self, schedule: Schedule) -> Verdict:
        """Run one schedule and return how it ended. The stack is thrown away if a promise was not kept."""
        undisturbed = self._undisturbed_run(schedule.document)
        began = time.monotonic()
        disturbance = Disturbance(self.stack, schedule, undisturbed)
        try:
            violations = disturbance.run()
        except Exception as error:  # the next seed has to have its turn
            violations = [Violation("stuck", f"{type(error).__name__}: {error}")]
            disturbance.errors.append(traceback.format_exc())
        violations += [Violation("stuck", text) for text in disturbance.errors]
        verdict = Verdict(
            schedule,
            self._kind,
            tuple(violations),
            disturbance.recovery,
            disturbance.missed,
            time.monotonic() - began,
        )
        if violations:
            self._keep(verdict, disturbance.sweep_id)
            self._open.close()
            self._stack, self._open = None, ExitStack()
        return verdict

    def _undisturbed_run(self, document: str) -> SweepOutcome:
        if document not in self._undisturbed:
            database = self.stack.database
            sweep_id = self.stack.client.submit(DOCUMENTS[document] | {"name": f"undisturbed {document}"})["id"]
            until(lambda: sweep_state.has_ended(database, sweep_id), END_SECONDS * slack())
            found = outcome.of_tables(self.stack, sweep_id)
            assert found.state == "succeeded", f"without any fault the sweep {document} {found.state}: {found.reason}"
            self._undisturbed[document] = found
        return self._undisturbed[document]

    def _keep(self, verdict: Verdict, sweep_id: str) -> None:
        folder = self._kept / f"{self._kind}-{verdict.schedule.seed}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = [str(verdict.schedule), f"sweep {sweep_id}"]
        lines += [f"{violation.kind}: {violation.text}" for violation in verdict.violations]
        (folder / "violations.txt").write_text("\n".join([*lines, ""]))
        (folder / "schedule.json").write_text(json.dumps(verdict.schedule.as_json(), indent=1))
        self.stack.keep_logs(folder)
