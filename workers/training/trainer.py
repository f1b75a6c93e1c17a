"""The trainer of a pack of trials: ``advance`` trains to the next report and returns what happened.

On a CPU every number of a trial but the times is a function of its own spec alone: not of its pack, of what else trains
in it, of trials that leave it, or of the number of threads.

Between two reports the host never waits for the device: sums and failures are collected in tensors there, and are read
once, when a report is due.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from spectral import torch_on_one_thread
from workers.checkpoint_files import Best, MetricsAtStep
from workers.errors import is_out_of_memory
from workers.protocol import divergence
from workers.training import diagnostics
from workers.training.batches import TaskData
from workers.training.pack import Readings, StepOptions, TrainingPack
from workers.training.pack_timer import PackTimer
from workers.training.training_state import TrainingState

log = logging.getLogger(__name__)

NORM = "the norm of the gradient"


@dataclass(frozen=True)
class Reported:
    """A trial has reported its metrics. The report is in the trial's history already.

    ``save`` is true if a checkpoint is due, and ``best`` if that will be the best one so far.
    """

    trial: int
    step: int
    values: dict[str, float]
    save: bool
    best: bool


@dataclass(frozen=True)
class Failed:
    """A loss, gradient or metric of a trial was not finite at ``step``. The trial has left the pack."""

    trial: int
    step: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """A trial has succeeded and has left the pack. ``reason`` is set if it reached its target before its last step."""

    trial: int
    step: int
    reason: str | None = None


TrainerEvent = Reported | Failed | Finished


@dataclass
class _Clock:
    """The training time of one trial.

    ``steps`` and ``seconds`` count from its last report in this attempt; ``total`` is in seconds, with evaluations and
    earlier attempts.
    """

    steps: int
    seconds: float
    total: float


class Trainer:
    """Trains trials of one shape key together, each from the step of its own state on.

    On a CPU a trial has the same results bit for bit alone and in every pack, at every number of threads, and after any
    other trial has left. Its transition is formed from its own reflectors, although smaller sets are padded with zeros,
    and every sum runs in an order that its own sizes decide. torch's own operators run on one thread, the compiled code
    on as many as torch has. This needs the compiled code (``spectral.cpu``), the dtypes float32 or float64, and the
    same machine and versions. In mixed precision, without a compiler and on a GPU, numbers differ by rounding from pack
    to pack, and training may amplify the difference. The values of the others never count anywhere: one that becomes
    NaN changes no bit of them.

    A trial that ends is ignored from then on. When half of the pack has ended, the others move to a smaller pack.

    A pack has at most ``largest`` trials, or on a GPU, if its memory does not hold so many, half, and half of that: no
    step is lost. The trials for which there is no place wait, and take those of trials that have ended. That changes no
    number of a trial but by rounding, as another pack does.

    The last report of a trial is the first one that meets ``training.target``, or else the one after all steps. It has
    the metrics over the test set too, with the parameters of the best checkpoint by the objective.

    Args:
        states: The trials, which are numbered from 0 in this order.
        data: The data of their task.
        device: The device on which they are trained.
        largest: The most trials that are trained at once; None for all of them.
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
        self._states, self._data, self._device, self._options = list(states), data, device, options
        self._largest = largest or len(states)
        self._training = states[0].spec.training
        self._live = [i for i, state in enumerate(states) if not self._is_done(i)]
        self._clocks = [_Clock(0, 0.0, _trained_seconds(state.history)) for state in states]
        self._rows: dict[int, int] = {}
        self._pack: TrainingPack
        self._uncounted = 0
        self._compact()

    @property
    def live(self) -> list[int]:
        """The trials that are still training."""
        return list(self._live)

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
        if 2 * len(self._packed) <= len(self._rows):
            self._compact()
        started, short = time.perf_counter(), ""
        try:
            self._steps(min(self._steps_to_report(i) for i in self._packed), should_stop)
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
            clock = self._clocks[trial]
            clock.steps, clock.seconds, clock.total = clock.steps + done, clock.seconds + seconds, clock.total + seconds

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
        self._compact()
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
        every, step = self._training.report_interval, self.step_of(trial)
        # The last interval is shorter if the number of steps is no multiple of the interval.
        values = {"train/loss": found.loss_sum / (step % every or every)}
        values |= {f"val/{name}": value for name, value in validation.items()}
        values |= {f"test/{name}": value for name, value in test.items()}
        values |= {"grad/h0_norm": found.h0_norm, "grad/hT_norm": found.hT_norm}
        if 0 < found.hT_norm < math.inf:
            values["grad/ratio"] = found.h0_norm / found.hT_norm
        if found.spectrum_distance is not None:
            values["spectral/margin"] = found.spectrum_distance
        clock = self._clocks[trial]
        values["throughput/sequences_per_s"] = clock.steps * self._training.batch_size / max(clock.seconds, 1e-9)
        values["time/wall_s"] = clock.total
        clock.steps, clock.seconds = 0, 0.0
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

    def _compact(self) -> None:
        """Move the remaining trials, as many as there is place for, to a new pack that holds only them."""
        for trial in self._packed:
            self.state(trial)
        # Those in training go on, the others follow in their order.
        chosen = sorted((self._packed + [i for i in self._live if i not in self._rows])[: self._largest])
        if self._rows:
            self._pack.release()
            del self._pack  # its memory is free before the new one needs any
        self._rows = {trial: row for row, trial in enumerate(chosen)}
        if chosen:
            self._pack = TrainingPack([self._states[i] for i in chosen], self._data, self._device, self._options)

    def _is_done(self, trial: int) -> bool:
        return self._states[trial].done

    def _is_due(self, trial: int) -> bool:
        return self._is_done(trial) or self._states[trial].step % self._training.report_interval == 0

    def _steps_to_report(self, trial: int) -> int:
        step, every = self._states[trial].step, self._training.report_interval
        return min(every - step % every, self._training.steps - step)


def _trained_seconds(history: Sequence[MetricsAtStep]) -> float:
    return history[-1].values.get("time/wall_s", 0.0) if history else 0.0
