"""Train a pack until every one of its trials has ended, and no others come.

An exception in training is turned into an ``Ended`` report of each remaining trial, with its cause and reason.
"""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workers.errors import NoGpu, is_out_of_memory, store_problem
from workers.protocol import Assignment, Cause, Ended, Report
from workers.runtime.failure_log import failure_log
from workers.runtime.heap import keep_freed_memory

if TYPE_CHECKING:
    from workers.training.pack_run import PackRun

log = logging.getLogger(__name__)

Emit = Callable[[Report], None]


def train(
    assignment: Assignment,
    emit: Emit,
    *,
    callback: Callable[[PackRun], None] = lambda run: None,
    should_stop: Callable[[], bool] = lambda: False,
    wait: Callable[[PackRun], bool] = lambda run: False,
) -> None:
    """Train the trials of an assignment, and those that are added to its run, until all of them have ended.

    An exception from anything but ``emit`` ends the remaining trials as failed and is not raised. Torch is imported
    here and not with this module, so that importing this module is cheap.

    Args:
        assignment: The trials, their checkpoint folders, and the CPUs and GPUs of the pack.
        emit: Called with every report, in order. What it raises is raised to the caller.
        callback: Called with the pack's run after it has started and after every advance. It may end and add trials.
        should_stop: Called after every optimiser step. If it returns true, the run advances no further before
            ``callback`` has been called.
        wait: Called with the pack's run when all of its trials have ended. It adds further ones, for which it may wait,
            and returns true; or it returns false, and the pack has ended.
    """
    reports, run = _ReportLog(emit), None
    try:
        run = _open(assignment, reports)
        run.start()
        callback(run)
        while not run.ended or (run.takes_trials and wait(run)):
            run.advance(should_stop)
            callback(run)
    except BaseException as error:  # the caller may be a bare thread, where an exception would be seen by nobody
        if reports.broken:
            raise
        log.exception("the training of pack %s was ended by an exception", assignment.pack_id)
        remaining = [trial.trial_id for trial in assignment.trials] if run is None else run.live
        _fail_remaining([trial_id for trial_id in remaining if trial_id not in reports.ended], reports, error)


class _ReportLog:
    """Passes reports on, and remembers of them what is needed to report the failure of the trials that have not ended.

    Attributes:
        seq: The number of the last report; 0 before the first.
        steps: The step of each trial's last report.
        ended: The trials that have ended.
        broken: Whether a report could not be passed on.
    """

    def __init__(self, emit: Emit) -> None:
        self._emit = emit
        self.seq = 0
        self.steps: dict[str, int] = {}
        self.ended: set[str] = set()
        self.broken = False

    def __call__(self, report: Report) -> None:
        self.seq = report.seq
        self.steps[report.trial_id] = report.step
        if isinstance(report, Ended):
            self.ended.add(report.trial_id)
        try:
            self._emit(report)
        except BaseException:
            self.broken = True
            raise


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Suspend the garbage collector, which takes a sixth of the time of importing torch and finds nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _open(assignment: Assignment, emit: Emit) -> PackRun:
    keep_freed_memory()
    with _without_garbage_collection():
        import torch

        from workers.training.pack_run import PackRun

    if assignment.gpus and not torch.cuda.is_available():
        raise NoGpu(f"the pack needs {assignment.gpus:g} GPU, but torch finds none on this node")
    if 0 < assignment.gpus < 1:
        torch.cuda.set_per_process_memory_fraction(assignment.gpus)  # the rest is for other packs on this GPU
    torch.set_num_threads(max(1, int(assignment.cpus)))
    data_dir = None if assignment.data_dir is None else Path(assignment.data_dir)
    device = "cuda" if assignment.gpus else "cpu"
    return PackRun(assignment.trials, emit, data_dir=data_dir, device=device, keep_every=assignment.keep_every)


def _fail_remaining(trial_ids: Sequence[str], reports: _ReportLog, error: BaseException) -> None:
    (cause, reason), log_lines = cause_of(error), failure_log(error)
    for name in trial_ids:
        end = Ended(
            seq=reports.seq + 1,
            trial_id=name,
            step=reports.steps.get(name, 0),
            outcome="failed",
            cause=cause,
            reason=reason,
            log=log_lines,
        )
        reports(end)


def cause_of(error: BaseException) -> tuple[Cause, str]:
    """Return what a failure by an exception in training needs, and the reason in one line for the user.

    The cause is ``infrastructure`` for ``NoGpu``, ``memory`` if memory was short, ``storage`` if a file store was full,
    read-only or failing, and ``user`` for every other exception.
    """
    text = traceback.format_exception_only(error)[-1].strip()
    if isinstance(error, NoGpu):
        return "infrastructure", str(error)
    if is_out_of_memory(error):
        return "memory", f"out of memory; a smaller resources.pack_size, batch_size or hidden_size needs less ({text})"
    return "storage" if store_problem(error) else "user", text
