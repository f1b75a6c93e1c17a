"""A simulated pack runner: it answers polls and commands as ``workers.runtime.ray_actor.PackRunner`` does.

It trains in virtual time. A trial's metrics are a function of its number and the step, as real ones are of the seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.protocol import (
    AssignedTrial,
    Assignment,
    Checkpointed,
    Command,
    Ended,
    Measured,
    Outcome,
    OutputLine,
    PackTimes,
    Poll,
    Report,
    SizeTimes,
    StaleTerm,
)

START_SECONDS = 0.6
"""From the creation of a runner to its first step."""
STEPS_PER_SECOND = 6.0
OUTCOMES: dict[str, Outcome] = {"prune": "pruned", "pause": "paused", "move": "moved", "cancel": "cancelled"}


def loss_at(number: int, step: int) -> float:
    """Return the validation loss of trial ``number`` after ``step`` steps. A lower number is a better trial."""
    return (1.0 + number) / (1.0 + step)


@dataclass
class Kept:
    """The checkpoints of one trial: the step and the metrics up to the newest one, and the step of the best one."""

    step: int = 0
    history: list[int] = field(default_factory=list)
    best: int | None = None


@dataclass(frozen=True)
class Death:
    """How a runner ended.

    Attributes:
        cause: ``process`` if its process crashed or was killed, ``ordered`` if somebody had Ray end it or it left by
            itself, ``head`` if the whole cluster went.
        pack_id: Its pack.
        trials: The trials of the pack that it was training.
        size: The number of trials of the pack.
    """

    cause: str
    pack_id: str
    trials: tuple[str, ...]
    size: int


class SimulatedRunner:
    """The process of one runner.

    Args:
        assignment: What it trains.
        checkpoints: The checkpoint store, by trial; it outlives the runner.
        poison: The trials that end the process that trains them, each with the step at which it does.
        failing: The trials that fail for a reason of the user's, each with the step.
        now: The present time.

    Attributes:
        death: How it ended; None while it lives.
        stopped_until: When a SIGCONT will follow its SIGSTOP.
        trained: The steps that it has trained, by trial.
        deliveries: How often each report was sent.
        printed: All lines that it has printed.
        clash: A command number that was used for two different commands, if there was one.
    """

    def __init__(
        self,
        assignment: Assignment,
        checkpoints: dict[str, Kept],
        poison: Mapping[str, int],
        failing: Mapping[str, int],
        now: float,
    ) -> None:
        self.assignment, self._checkpoints, self._poison, self._failing = assignment, checkpoints, poison, failing
        self.death: Death | None = None
        self.stopped_until = 0.0
        self.trained = {trial.trial_id: 0 for trial in assignment.trials}
        self.deliveries: dict[int, int] = {}
        self.printed: list[OutputLine] = []
        self.clash: int | None = None
        self._specs = {trial.trial_id: trial.spec for trial in assignment.trials}
        self._history: dict[str, list[int]] = {}
        self._step: dict[str, int] = {}
        self._live: list[str] = []
        self._reports: list[Report] = []
        self._seq = 0
        self._term = assignment.term
        self._commands: dict[int, Command] = {}
        self._ready_at: float | None = None
        self._created_at, self._trained_to = now, now + START_SECONDS
        self._polled_at = now
        self._idle_since, self._over = 0.0, False

    @property
    def trial_ids(self) -> set[str]:
        """The trials that it was given."""
        return set(self._specs)

    @property
    def live(self) -> list[str]:
        """The trials that it trains."""
        return list(self._live)

    @property
    def acknowledged_end(self) -> bool:
        """Whether it trains nothing any more, and all reports are acknowledged."""
        return self._over and not self._reports

    def poll(self, after_seq: int, term: int, now: float) -> dict[str, Any]:
        """Answer a poll; raise StaleTerm for a term that is over."""
        self._check_term(term)
        self.run_until(now)
        self._polled_at = now
        self._reports = [report for report in self._reports if report.seq > after_seq]
        for report in self._reports:
            self.deliveries[report.seq] = self.deliveries.get(report.seq, 0) + 1
        state = "ended" if self._over else "starting" if self._ready_at is None else "running" if self._live else "idle"
        told = [*self._live, *(report.trial_id for report in self._reports if isinstance(report, Ended))]
        progress = {trial_id: self._step[trial_id] for trial_id in told}
        if self._ready_at is None:
            progress = dict.fromkeys(self._specs, 0)
        times = self._times(now) if self._ready_at is not None else None
        reports = list(self._reports)
        lines = [line for line in self.printed if line.seq > after_seq]
        fields = {"state": state, "reports": reports, "progress": progress, "times": times, "lines": lines}
        return Poll.model_construct(**fields).model_dump()

    def command(self, term: int, fields: dict[str, Any], now: float) -> bool:
        """Obey a command; raise StaleTerm for a term that is over."""
        self._check_term(term)
        self.run_until(now)
        command = Command.model_validate(fields)
        known = self._commands.get(command.seq)
        if known is not None:
            if known != command:
                self.clash = command.seq
            return False
        self._commands[command.seq] = command
        if self._ready_at is None:
            self._start()
        if command.verb == "refill":
            self._take(command.trials)
        else:
            self._obey(command.verb, command.trial_ids, command.reason)
        return True

    def _take(self, trials: list[AssignedTrial]) -> None:
        for trial in trials:
            if trial.trial_id not in self._specs and not self._over:
                self._specs[trial.trial_id], self.trained[trial.trial_id] = trial.spec, 0
                self._begin(trial.trial_id)

    def run_until(self, now: float) -> None:
        """Train up to the present time, unless the process is stopped, and leave if nobody asks for it any more."""
        if self.death is not None or now < self.stopped_until:
            return
        leaves_at = self._polled_at + self.assignment.orphan_ttl
        self._train_until(min(now, leaves_at))
        if self.death is None and now >= leaves_at:
            self._obey("pause", list(self._live), "no controller has polled this pack")
            self._over = True
            self.die("ordered")

    def stop(self, until: float) -> None:
        """Stop the process, as SIGSTOP does, until a moment."""
        self.stopped_until = until

    def go_on(self, now: float) -> None:
        """Continue a stopped process: it has not trained while it was stopped."""
        if self.stopped_until and now >= self.stopped_until:
            self._trained_to = max(self._trained_to, self.stopped_until)
            self.stopped_until = 0.0

    def die(self, cause: str) -> None:
        """End the process."""
        if self.death is None:
            self.death = Death(cause, self.assignment.pack_id, tuple(self._live or self._specs), len(self._specs))

    def _times(self, now: float) -> PackTimes:
        """Return what such a runner measures: every step takes the same time, and nothing else takes any."""
        steps = max(self.trained.values())
        size = SizeTimes(
            rows=len(self._specs), steps=steps, step_seconds=1 / STEPS_PER_SECOND, evaluations=0, evaluation_seconds=0.0
        )
        return PackTimes(
            device="cpu: simulated",
            age_seconds=max(0.0, now - self._created_at),
            ready_seconds=START_SECONDS,
            warm_up_seconds=0.0,
            sizes=[size] if steps else [],
            checkpoints=0,
            checkpoint_seconds=0.0,
            peak_bytes=1,
        )

    def _check_term(self, term: int) -> None:
        if term < self._term:
            raise StaleTerm(f"term {term} is over: the controller of term {self._term} leads now")
        self._term = term

    def _train_until(self, now: float) -> None:
        self.go_on(now)
        if now < self._trained_to:
            return
        if self._ready_at is None:
            self._start()
        while self._live and self.death is None and self._trained_to + 1 / STEPS_PER_SECOND <= now:
            self._trained_to += 1 / STEPS_PER_SECOND
            self._one_step()
        if not self._live and self.death is None:
            self._trained_to = now
            self._over = self._over or now >= self._idle_since + self.assignment.idle_seconds

    def _start(self) -> None:
        self._ready_at = self._trained_to
        for trial_id in list(self._specs):
            self._begin(trial_id)

    def _begin(self, trial_id: str) -> None:
        kept = self._checkpoints.get(trial_id, Kept())
        self._step[trial_id], self._history[trial_id] = kept.step, list(kept.history)
        self._live.append(trial_id)
        self._print(trial_id, f"begins at step {kept.step}")
        for step in kept.history:
            self._measured(trial_id, step)
        for step in sorted({kept.best or kept.step, kept.step} - {0}):
            self._checkpointed(trial_id, step, best=step == kept.best)
        if kept.step >= self._specs[trial_id].training.steps:
            self._ended(trial_id, "succeeded")

    def _one_step(self) -> None:
        for trial_id in list(self._live):
            step = self._step[trial_id] = self._step[trial_id] + 1
            self.trained[trial_id] += 1
            if self._poison.get(trial_id) == step:
                self.die("process")
                return
            if self._failing.get(trial_id) == step:
                self._ended(trial_id, "failed", "its loss is not a number")
                continue
            training = self._specs[trial_id].training
            if step % training.report_interval == 0:
                self._history[trial_id].append(step)
                self._measured(trial_id, step)
            if step % training.checkpoint_interval == 0 or step == training.steps:
                self._checkpoints[trial_id] = Kept(step, list(self._history[trial_id]), step)
                self._checkpointed(trial_id, step, best=True)
            if step == training.steps:
                self._ended(trial_id, "succeeded")

    def _obey(self, verb: str, trial_ids: list[str], reason: str) -> None:
        for trial_id in [trial_id for trial_id in trial_ids if trial_id in self._live]:
            if verb in ("pause", "move"):
                before = self._checkpoints.get(trial_id, Kept())
                step = self._step[trial_id]
                if step > before.step:
                    self._checkpoints[trial_id] = Kept(step, list(self._history[trial_id]), before.best)
                    self._checkpointed(trial_id, step, best=False)
            self._ended(trial_id, OUTCOMES[verb], reason)

    def _measured(self, trial_id: str, step: int) -> None:
        values = {"val/loss": loss_at(self._specs[trial_id].number, step)}
        self._reports.append(Measured.model_construct(seq=self._next(), trial_id=trial_id, step=step, values=values))

    def _checkpointed(self, trial_id: str, step: int, *, best: bool) -> None:
        objective = loss_at(self._specs[trial_id].number, step) if best else None
        path = f"/store/{trial_id}/step-{step}"
        fields = {"seq": self._next(), "trial_id": trial_id, "step": step, "path": path}
        self._reports.append(Checkpointed.model_construct(**fields, best=best, objective=objective))

    def _ended(self, trial_id: str, outcome: Outcome, reason: str | None = None) -> None:
        self._live.remove(trial_id)
        self._print(trial_id, f"{outcome} at step {self._step[trial_id]}")
        self._idle_since = self._trained_to
        cause = "user" if outcome == "failed" else None
        fields = {"seq": self._next(), "trial_id": trial_id, "step": self._step[trial_id], "outcome": outcome}
        self._reports.append(Ended.model_construct(**fields, cause=cause, reason=reason))

    def _print(self, trial_id: str, text: str) -> None:
        line = {"seq": self._next(), "at": self._trained_to, "stream": "log", "text": text, "trial_id": trial_id}
        self.printed.append(OutputLine.model_construct(**line))

    def _next(self) -> int:
        self._seq += 1
        return self._seq
