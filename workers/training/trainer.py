"""The trainer of a pack of trials: ``advance`` trains to the next report and returns what happened.

On a CPU every number of a trial but the times is a function of its own spec alone: not of its pack, of what else trains
in it, of trials that leave it, or of the number of threads.

Between two reports the host never waits for the device: sums and failures are collected in tensors there, and are read
once, when a report is due.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import torch

from spectral import torch_on_one_thread
from workers.checkpoint_files import Best, MetricsAtStep
from workers.errors import is_out_of_memory
from workers.protocol import divergence
from workers.training import diagnostics
from workers.training.batches import TaskData
from workers.training.pack import StepOptions, TrainingPack
from workers.training.pack_timer import PackTimer
from workers.training.records import Readings
from workers.training.trainer_events import Failed, Finished, Reported, TrainerEvent
from workers.training.training_state import TrainingState
from workers.training.trial_clock import TrialClock

log = logging.getLogger(__name__)

NORM = "the norm of the gradient"


class Trainer:
    """Trains trials of one shape key together, each from the step of its own state on.

    On a CPU a trial has the same results bit for bit alone and in every pack, at every number of threads, and after any
    other trial has left. Its transition is formed from its own reflectors, although smaller sets are padded with zeros,
    and every sum runs in an order that its own sizes decide. torch's own operators run on one thread, the compiled code
    on as many as torch has. This needs the compiled code (``spectral.cpu``), the dtypes float32 or float64, and the
    same machine and versions. In mixed precision, without a compiler and on a GPU, numbers differ by rounding from pack
    to pack, and training may amplify the difference. The values of the others never count anywhere: one that becomes
    NaN changes no bit of them.

    A trial that ends is ignored from then on, and its row is free for another one. When half of the rows are free and
    no trial waits, the others move to a smaller pack.

    A pack has at most ``largest`` trials, or on a GPU, if its memory does not hold so many, half, and half of that: no
    step is lost. The trials for which there is no place wait, and so do those that ``add`` brings. They take free rows
    where these have room for them, and get a larger pack where not. A trial enters when some trial of the pack is as
    far from its next report as it is itself, so that they report together: the whole pack is evaluated at each report.
    All that changes no number of a trial but by rounding, as another pack does.

    The last report of a trial is the first one that meets ``training.target``, or else the one after all steps. It has
    the metrics over the test set too, with the parameters of the best checkpoint by the objective.

    Args:
        states: The trials, which are numbered from 0 in this order.
        data: The data of their task.
        device: The device on which they are trained.
        largest: The most trials that are trained at once; None for all of them, also of those that are added.
        options: How steps are run; by default the fastest way on the device.
        timer: What counts the time of steps and evaluations.
    """

    def __init__(
        self,
        states: Sequence[TrainingState],
        data: TaskData,
        device: torch.device,
        *,
        largest: int | None = None,
        options: StepOptions | None = None,
        timer: PackTimer | None = None,
    ) -> None:
        self._timer = timer or PackTimer(device)
        self._states, self._added = dict(enumerate(states)), len(states)
        self._data, self._device, self._options = data, device, options
        self._largest = largest or sys.maxsize
        self._training = states[0].spec.training
        self._live = [i for i, state in enumerate(states) if not self._is_done(i)]
        self._clocks = {i: TrialClock.of(state.history) for i, state in enumerate(states)}
        self._rows: dict[int, int] = {}
        self._pack: TrainingPack
        self._uncounted = 0
        self._rebuild(self._live[: self._largest])

    @property
    def live(self) -> list[int]:
        """The trials that are still training."""
        return list(self._live)

    def add(self, state: TrainingState) -> int:
        """Add a trial of the same shape key, and return its number. It is trained from the step of its state on."""
        trial, self._added = self._added, self._added + 1
        self._states[trial], self._clocks[trial] = state, TrialClock.of(state.history)
        if not state.done:
            self._live.append(trial)
        return trial

    def step_of(self, trial: int) -> int:
        """Return the optimiser steps that a trial has done."""
        return self._states[trial].step

    def state(self, trial: int) -> TrainingState:
        """Return the state of a trial on the CPU, as it is now, or as it was when ``end`` or its last step removed it.

        The tensors of a trial that has failed are older than its step: those when its state was last taken.
        """
        if trial in self._live and trial in self._rows:
            self._pack.store(self._rows[trial], self._states[trial])
        return self._states[trial]

    def end(self, trial: int) -> None:
        """Remove a trial from the pack. Its ``state`` stays as it is now."""
        self.state(trial)
        self._remove(trial)

    def forget(self, trial: int) -> None:
        """Remove a trial from the pack, if it is there, and free its memory. It has no state any more."""
        self._remove(trial)
        del self._states[trial], self._clocks[trial]

    @torch_on_one_thread()
    def advance(self, should_stop: Callable[[], bool] = lambda: False) -> list[TrainerEvent]:
        """Train until the next report of any trial is due.

        Args:
            should_stop: Called after every optimiser step. If it returns true, training returns early.

        Returns:
            The events of trials in the order in which they are to be reported. The list is empty if no report was due
            and no trial failed, and if no trial is left.
        """
        if not self._live:
            return []
        self._fill_rows()
        started, short = time.perf_counter(), ""
        try:
            self._steps(self._steps_to_next(), should_stop)
        except Exception as error:
            dividable = len(self._packed) > 1 or self._pack.options.graph
            if not (is_out_of_memory(error) and self._pack.whole and dividable):
                raise
            short = str(error).partition("\n")[0]
        if short:
            # Not inside the clause above, because the exception keeps the tensors of the step that it stopped.
            return self._divide(short, started)
        # Reading the numbers waits for the device, so it belongs to the time of the steps.
        readings = self._pack.readings()
        self._count(time.perf_counter() - started)
        events = self._fail_nonfinite(readings)
        events += self._report([i for i in self._packed if self._is_due(i)], readings)
        for trial in [i for i in self._packed if self._is_done(i)]:
            events.append(Finished(trial, self.step_of(trial), self._states[trial].early_end))
            self.end(trial)
        return events

    @property
    def _packed(self) -> list[int]:
        """The trials that are in the pack and have not ended."""
        return [i for i in self._live if i in self._rows]

    def _steps(self, count: int, should_stop: Callable[[], bool]) -> None:
        """Do ``count`` optimiser steps, or fewer if ``should_stop`` is true after one."""
        self._uncounted = 0
        for left in range(count - 1, -1, -1):
            self._pack.step(probe=left == 0)
            self._uncounted += 1
            if should_stop():
                return

    def _count(self, seconds: float) -> None:
        """Count the steps that ``_steps`` has done, and the time that they took."""
        done, self._uncounted = self._uncounted, 0
        self._timer.count_steps(len(self._rows), done, seconds)
        for trial in self._packed:
            self._states[trial].step += done
            self._clocks[trial].count(done, seconds)

    def _divide(self, problem: str, started: float) -> list[TrainerEvent]:
        """Go on with half of the pack after a step for which memory was too short; the other half waits.

        A single trial goes on without a graph, whose memory serves nothing else.

        Args:
            problem: What the step said.
            started: When the first of the steps began.

        Returns:
            The failures of trials in the steps before.
        """
        self._pack.release()
        if len(self._packed) > 1:
            self._largest = len(self._packed) // 2
        else:
            self._options = self._pack.options._replace(graph=False)
        log.warning("memory is short, so trials are trained %d at a time from here on: %s", self._largest, problem)
        readings = self._pack.readings()
        self._count(time.perf_counter() - started)
        events = self._fail_nonfinite(readings)
        self._rebuild(self._packed[: self._largest])
        return events

    def _fail_nonfinite(self, readings: list[Readings]) -> list[TrainerEvent]:
        """Fail the trials whose loss or gradient was not finite in any step since the last report."""
        events: list[TrainerEvent] = []
        for trial in self._packed:
            found = readings[self._rows[trial]]
            if found.bad_step:
                bad_loss = not math.isfinite(found.bad_loss)
                what, value = ("train/loss", found.bad_loss) if bad_loss else (NORM, found.bad_norm)
                events.append(self._fail(trial, found.bad_step, what, value))
        return events

    def _report(self, due: list[int], readings: list[Readings]) -> list[TrainerEvent]:
        """Measure the trials whose reports are due. Add finite reports to their histories, and fail the others."""
        if not due:
            return []
        started = time.perf_counter()
        # The whole pack is evaluated at once: rows whose report is not due cost little and change nothing.
        validation = self._pack.evaluate("validation")
        ending = {i for i in due if self._is_last_report(i, validation[self._rows[i]])}
        # The best parameters are noted before the test, which is of the best ones and may be of these.
        checkpoints = {i: self._plan_checkpoint(i, validation[self._rows[i]], i in ending) for i in due}
        test = self._pack.evaluate_best() if ending else []
        diagnosed = {i for i in due if i in ending or diagnostics.is_due(self._states[i].spec, self.step_of(i))}
        diagnoses = self._pack.diagnose() if diagnosed else []
        seconds = time.perf_counter() - started
        self._timer.count_evaluation(len(self._rows), seconds)
        for trial in self._packed:
            self._clocks[trial].total += seconds
        events: list[TrainerEvent] = []
        for trial in due:
            row = self._rows[trial]
            values = self._values(trial, readings[row], validation[row], test[row] if trial in ending else {})
            nonfinite = [(name, value) for name, value in values.items() if not math.isfinite(value)]
            if nonfinite:
                events.append(self._fail(trial, self.step_of(trial), *nonfinite[0]))
                continue
            values |= diagnoses[row] if trial in diagnosed else {}
            self._states[trial].history.append(MetricsAtStep(step=self.step_of(trial), values=values))
            events.append(Reported(trial, self.step_of(trial), values, *checkpoints[trial]))
        return events

    def _is_last_report(self, trial: int, validation: dict[str, float]) -> bool:
        """Return whether a trial ends with this report: after all its steps, or at its target."""
        state = self._states[trial]
        return self._is_done(trial) or state.meets_target(validation[state.spec.objective.metric.removeprefix("val/")])

    def _plan_checkpoint(self, trial: int, validation: dict[str, float], ends: bool) -> tuple[bool, bool]:
        """Return whether a checkpoint is due, and whether it is the best so far; note a best one in the trial's state.

        Only parameters that are checkpointed can be the best ones.
        """
        state = self._states[trial]
        save = ends or state.step % self._training.checkpoint_interval == 0
        objective = state.spec.objective
        value = validation[objective.metric.removeprefix("val/")]
        best = save and math.isfinite(value) and (state.best is None or objective.better(value, state.best.objective))
        if best:
            state.best = Best(step=state.step, objective=value)
            self._pack.keep_best(self._rows[trial])
        return save, best

    def _values(
        self, trial: int, found: Readings, validation: dict[str, float], test: dict[str, float]
    ) -> dict[str, float]:
        """Return the metrics of a trial's report by full name, all but those of diagnostics.py.

        The sum of the losses, and the steps and seconds behind the throughput, start again from zero; the total time
        continues.
        """
        step, history = self.step_of(trial), self._states[trial].history
        # An interval is shorter where the trial ends, or ended before it was given more steps.
        values = {"train/loss": found.loss_sum / (step - (history[-1].step if history else 0))}
        values |= {f"val/{name}": value for name, value in validation.items()}
        values |= {f"test/{name}": value for name, value in test.items()}
        values |= {"grad/h0_norm": found.h0_norm, "grad/hT_norm": found.hT_norm}
        if 0 < found.hT_norm < math.inf:
            values["grad/ratio"] = found.h0_norm / found.hT_norm
        if found.spectrum_distance is not None:
            values["spectral/margin"] = found.spectrum_distance
        values |= self._clocks[trial].read(self._training.batch_size)
        self._pack.clear_loss(self._rows[trial])
        return values

    def _fail(self, trial: int, step: int, what: str, value: float) -> Failed:
        self._remove(trial)
        spectral = self._states[trial].spec.model.spectral
        fields = "training.lr, training.clip_norm or model.margin" if spectral else "training.lr or training.clip_norm"
        advice = f"a lower {fields} may help"
        return Failed(trial, step, divergence(what, value, step, advice))

    def _remove(self, trial: int) -> None:
        if trial in self._live:
            self._live.remove(trial)

    @property
    def _waiting(self) -> list[int]:
        """The trials that have not ended and are in no row, the first in line first."""
        return [i for i in self._live if i not in self._rows]

    def _fill_rows(self) -> None:
        """Let the trials enter that wait and may enter now, and make a pack smaller of which half is free and stays so.

        They take free rows; where these have no room for them, all go to a new pack.
        """
        packed, waiting = self._packed, self._waiting
        room = self._largest - len(packed)
        entering = [i for i in waiting if not self._steps_until_entry(i)][:room]
        shrinks = 2 * (len(packed) + min(room, len(waiting))) <= len(self._rows)
        if not (entering or shrinks):
            return
        free = [row for trial, row in self._rows.items() if trial not in self._live]
        places = dict(zip(entering, free, strict=False))
        if shrinks or len(places) < len(entering) or not self._replace(places):
            self._rebuild(sorted(packed + entering))

    def _replace(self, places: Mapping[int, int]) -> bool:
        """Put trials in the place of those that have ended, by row; return false if the rows have no room for them."""
        if not self._pack.replace({row: self._states[trial] for trial, row in places.items()}):
            return False
        taken = set(places.values())
        self._rows = {trial: row for trial, row in self._rows.items() if row not in taken} | dict(places)
        return True

    def _rebuild(self, trials: Sequence[int]) -> None:
        """Make a new pack, which holds only these trials."""
        for trial in self._packed:
            self.state(trial)
        if self._rows:
            self._pack.release()
            del self._pack  # its memory is free before the new one needs any
        self._rows = {trial: row for row, trial in enumerate(trials)}
        if trials:
            self._pack = TrainingPack([self._states[i] for i in trials], self._data, self._device, self._options)

    def _is_done(self, trial: int) -> bool:
        return self._states[trial].done

    def _is_due(self, trial: int) -> bool:
        return self._is_done(trial) or self._states[trial].step % self._training.report_interval == 0

    def _steps_to_report(self, trial: int) -> int:
        step, every = self._states[trial].step, self._training.report_interval
        return min(every - step % every, self._training.steps - step)

    def _steps_until_entry(self, trial: int) -> int:
        """Return after how many steps some trial in training is as far from its next report as a waiting trial is."""
        step, every = self._states[trial].step, self._training.report_interval
        return min(((step - self._states[i].step) % every for i in self._packed), default=0)

    def _steps_to_next(self) -> int:
        """Return after how many steps a report is due or a waiting trial may enter, whatever comes first."""
        counts = [self._steps_to_report(i) for i in self._packed]
        if len(counts) < self._largest:
            counts += [self._steps_until_entry(i) for i in self._waiting]
        return min(counts)
