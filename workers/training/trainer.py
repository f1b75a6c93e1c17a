"""Trains a pack of trials, steppable from outside: ``advance`` runs to the next report and says what happened.

On a CPU all numbers but the times are a function of the trials' specs (and of the number of threads). Within an
interval the host never waits for the device: what must be known gathers in tensors there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from workers.checkpoints import Best, MetricsAtStep
from workers.training import diagnostics
from workers.training.batches import TaskData
from workers.training.pack import Readings, TrainingPack
from workers.training.training_state import TrainingState


@dataclass(frozen=True)
class Reported:
    """A report of ``trial``, already in its history. ``save``: a checkpoint is due now; ``best``: the best so far."""

    trial: int
    step: int
    values: dict[str, float]
    save: bool
    best: bool


@dataclass(frozen=True)
class Failed:
    """Something of ``trial`` was not finite at ``step``; it has left the pack."""

    trial: int
    step: int
    reason: str


@dataclass(frozen=True)
class Finished:
    """``trial`` has done all its steps, or reached its target, as ``reason`` says; it has left the pack."""

    trial: int
    step: int
    reason: str | None = None


TrainerEvent = Reported | Failed | Finished


@dataclass
class _Clock:
    """Training time of one trial: since its last report, and in all (over earlier attempts too)."""

    steps: int
    seconds: float
    total: float


class Trainer:
    """Trials of one shape key, numbered as given; each starts at its own state's step.

    A trial's numbers depend on the others by rounding at most (1e-11 relative after 12 steps in float64), and not at
    all while the same trials train, whatever becomes of their values; as a rule not even in another pack that pads it
    alike. Trials that end are masked at once; when half of the pack is gone the rest moves together. Test metrics come
    with the last report, from the best checkpointed parameters by the objective; that is the first report that meets
    ``training.target``, or else the one after all steps.
    """

    def __init__(self, states: Sequence[TrainingState], data: TaskData, device: torch.device) -> None:
        self._states, self._data, self._device = list(states), data, device
        self._training = states[0].spec.training
        self._live = [i for i, state in enumerate(states) if not self._is_done(i)]
        self._clocks = [_Clock(0, 0.0, _wall(state.history)) for state in states]
        self._rows: dict[int, int] = {}
        self._compact()

    @property
    def live(self) -> list[int]:
        """Trials that are still training."""
        return list(self._live)

    def step_of(self, trial: int) -> int:
        """Optimiser steps done."""
        return self._states[trial].step

    def state(self, trial: int) -> TrainingState:
        """The trial as it is now (or was when it left), on the CPU: what a checkpoint needs."""
        if trial in self._live:
            self._pack.store(self._rows[trial], self._states[trial])
        return self._states[trial]

    def end(self, trial: int) -> None:
        """The trial leaves the pack; its ``state`` stays as it is now."""
        self.state(trial)
        self._drop(trial)

    def advance(self, stop: Callable[[], bool] = lambda: False) -> list[TrainerEvent]:
        """Steps up to the nearest report of any trial, or until ``stop``, asked after every step, says so."""
        if not self._live:
            return []
        if 2 * len(self._live) <= len(self._rows):
            self._compact()
        started = time.perf_counter()
        done = self._steps(min(self._to_report(i) for i in self._live), stop)
        readings = self._pack.readings()
        elapsed = time.perf_counter() - started
        for trial in self._live:
            self._states[trial].step += done
            clock = self._clocks[trial]
            clock.steps, clock.seconds, clock.total = clock.steps + done, clock.seconds + elapsed, clock.total + elapsed
        events = self._quarantine(readings)
        events += self._reports([i for i in self._live if self._is_due(i)], readings)
        for trial in [i for i in self._live if self._is_done(i)]:
            events.append(Finished(trial, self.step_of(trial), self._states[trial].early_end))
            self.end(trial)
        return events

    def _steps(self, count: int, stop: Callable[[], bool]) -> int:
        for done in range(1, count + 1):
            self._pack.step(probe=done == count)
            if stop():
                return done
        return count

    def _quarantine(self, readings: list[Readings]) -> list[TrainerEvent]:
        events: list[TrainerEvent] = []
        for trial in self.live:
            found = readings[self._rows[trial]]
            if found.bad_step:
                what = f"train/loss was {found.bad_loss}" if not math.isfinite(found.bad_loss) else ""
                what = what or f"the norm of the gradient was {found.bad_norm}"
                events.append(self._fail(trial, found.bad_step, what))
        return events

    def _reports(self, due: list[int], readings: list[Readings]) -> list[TrainerEvent]:
        if not due:
            return []
        started = time.perf_counter()
        validation = self._pack.evaluate("validation")
        ending = {i for i in due if self._ends(i, validation[self._rows[i]])}
        marks = {i: self._judge(i, validation[self._rows[i]], i in ending) for i in due}
        test = self._pack.evaluate_best() if ending else []
        observed = {i for i in due if i in ending or diagnostics.due(self._states[i].spec, self.step_of(i))}
        looks = self._pack.diagnose() if observed else []
        for trial in self._live:
            self._clocks[trial].total += time.perf_counter() - started
        events: list[TrainerEvent] = []
        for trial in due:
            row = self._rows[trial]
            values = self._values(trial, readings[row], validation[row], test[row] if trial in ending else {})
            wrong = [f"{name} was {value}" for name, value in values.items() if not math.isfinite(value)]
            if wrong:
                events.append(self._fail(trial, self.step_of(trial), wrong[0]))
                continue
            values |= looks[row] if trial in observed else {}
            self._states[trial].history.append(MetricsAtStep(step=self.step_of(trial), values=values))
            events.append(Reported(trial, self.step_of(trial), values, *marks[trial]))
        return events

    def _ends(self, trial: int, validation: dict[str, float]) -> bool:
        """Whether this report is the trial's last: after all its steps, or at its target."""
        state = self._states[trial]
        return self._is_done(trial) or state.meets_target(validation[state.spec.objective.metric.removeprefix("val/")])

    def _judge(self, trial: int, validation: dict[str, float], ends: bool) -> tuple[bool, bool]:
        """Whether a checkpoint is due, and whether it is the best so far (a best is always checkpointed)."""
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
        every, step = self._training.report_interval, self.step_of(trial)
        values = {"train/loss": found.loss_sum / (step % every or every)}
        values |= {f"val/{name}": value for name, value in validation.items()}
        values |= {f"test/{name}": value for name, value in test.items()}
        values |= {"grad/h0_norm": found.h0_norm, "grad/hT_norm": found.hT_norm}
        if 0 < found.hT_norm < math.inf:
            values["grad/ratio"] = found.h0_norm / found.hT_norm
        if found.spectrum is not None:
            values["spectral/margin"] = found.spectrum
        clock = self._clocks[trial]
        values["throughput/sequences_per_s"] = clock.steps * self._training.batch_size / max(clock.seconds, 1e-9)
        values["time/wall_s"] = clock.total
        clock.steps, clock.seconds = 0, 0.0
        self._pack.clear_loss(self._rows[trial])
        return values

    def _fail(self, trial: int, step: int, what: str) -> Failed:
        self._drop(trial)
        spectral = self._states[trial].spec.model.spectral
        advice = f"a lower training.lr or clip_norm{' or model.margin' if spectral else ''} may help"
        return Failed(trial, step, f"{what} at step {step}; {advice}")

    def _drop(self, trial: int) -> None:
        if trial in self._live:
            self._live.remove(trial)

    def _compact(self) -> None:
        """Those that live move together into a pack of their own."""
        states = [self.state(i) if i in self._rows else self._states[i] for i in self._live]
        self._rows = {trial: row for row, trial in enumerate(self._live)}
        if states:
            self._pack = TrainingPack(states, self._data, self._device)

    def _is_done(self, trial: int) -> bool:
        return self._states[trial].done

    def _is_due(self, trial: int) -> bool:
        return self._is_done(trial) or self._states[trial].step % self._training.report_interval == 0

    def _to_report(self, trial: int) -> int:
        step, every = self._states[trial].step, self._training.report_interval
        return min(every - step % every, self._training.steps - step)


def _wall(history: Sequence[MetricsAtStep]) -> float:
    return history[-1].values.get("time/wall_s", 0.0) if history else 0.0
