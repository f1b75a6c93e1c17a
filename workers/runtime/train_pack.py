"""An assignment trained to its end, come what may: every trial gets its ``Ended``, with whose fault it was and why."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workers.errors import NoGpu
from workers.protocol import Assignment, Cause, Ended, Report

if TYPE_CHECKING:
    from workers.training.pack_run import PackRun

log = logging.getLogger(__name__)

Emit = Callable[[Report], None]


def train(
    assignment: Assignment,
    emit: Emit,
    *,
    attend: Callable[[PackRun], None] = lambda session: None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train until every trial has ended; torch is loaded here.

    attend: called with the session once it has started and again whenever it pauses for a report or for ``stop``,
    which is asked after every step. Anything raised in between ends the trials that are left as failed; only what
    ``emit`` itself raises comes out.
    """
    told = _Told(emit)
    try:
        session = _open(assignment, told)
        session.start()
        attend(session)
        while not session.ended:
            session.advance(stop)
            attend(session)
    except BaseException as error:  # whoever called may be a bare thread: there is no one above to see it
        if told.broken:
            raise
        log.exception("pack %s: training broke off", assignment.pack_id)
        _give_up(assignment, told, *blame(error))


class _Told:
    """Passes reports on and remembers what a last word needs."""

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.seq = 0
        self.steps: dict[str, int] = {}
        self.over: set[str] = set()
        self.broken = False

    def __call__(self, report: Report) -> None:
        self.seq = report.seq
        self.steps[report.trial_id] = report.step
        if isinstance(report, Ended):
            self.over.add(report.trial_id)
        try:
            self._emit(report)
        except BaseException:
            self.broken = True
            raise


@contextmanager
def _many_imports() -> Iterator[None]:
    """Without looks for garbage, of which importing makes none: a sixth of the time that torch takes to load."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _open(assignment: Assignment, emit: Emit) -> PackRun:
    with _many_imports():
        import torch

        from workers.training.pack_run import PackRun

    if assignment.gpus and not torch.cuda.is_available():
        raise NoGpu(f"the pack asks for {assignment.gpus:g} GPU and torch sees none on this node")
    torch.set_num_threads(max(1, int(assignment.cpus)))
    data_dir = None if assignment.data_dir is None else Path(assignment.data_dir)
    return PackRun(assignment.slots, emit, data_dir=data_dir, device="cuda" if assignment.gpus else "cpu")


def _give_up(assignment: Assignment, told: _Told, cause: Cause, reason: str) -> None:
    for slot in assignment.slots:
        name = slot.trial_id
        if name not in told.over:
            step = told.steps.get(name, 0)
            told(Ended(seq=told.seq + 1, trial_id=name, step=step, outcome="failed", cause=cause, reason=reason))


def blame(error: BaseException) -> tuple[Cause, str]:
    """Whose fault an error in training is, and the reason in a line."""
    text = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, NoGpu):
        return "infrastructure", str(error)
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return "user", f"out of memory; a smaller resources.pack_size, batch_size or hidden_size needs less ({text})"
    return "user", text
