"""Trials as the experiments read them, with their specs and histories, and groups of trials that differ in seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from study.errors import RecordWrong
from study.records import PointRecord, Record
from workers.errors import SpecError
from workers.spec.expand import plan_trial
from workers.spec.parameter_count import Parameters, count_parameters
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

LearningCurve = list[tuple[int, float]]


@dataclass(frozen=True)
class TrialOutcome:
    """A trial that has ended, with its specification and its reports.

    Attributes:
        sweep: Name of its sweep's document.
        spec: Its task, model and training, with defaults filled in.
        state: ``succeeded``, ``pruned``, ``failed`` or ``cancelled``.
        cause: What its last attempt failed of, as in ``TrialRecord.cause``; None if it did not fail.
        reason: Why it is in its state, for a person to read; None if there is nothing to say.
        points: Its reports, in order of step.
        pack_size: Number of trials whose last pack was the same. The trial's seconds are those of the whole pack.
    """

    sweep: str
    spec: TrialSpec
    state: str
    cause: str | None
    reason: str | None
    points: Sequence[PointRecord]
    pack_size: int

    @property
    def diverged(self) -> bool:
        """Whether the trial failed with the cause ``user``: no longer finite numbers, or another error of its own."""
        return self.state == "failed" and self.cause == "user"

    @property
    def lost(self) -> bool:
        """Whether the trial was cancelled, or failed for any reason outside it, such as a lost process."""
        return self.state in ("failed", "cancelled") and not self.diverged

    @property
    def spectral(self) -> bool:
        """Whether the model's kind starts with ``spectral_``: it is one of this project's nets, and no baseline."""
        return self.spec.model.kind.startswith("spectral_")

    @property
    def seconds(self) -> float:
        """Seconds that the trial's pack spent in training and scoring up to the last report; 0 without reports."""
        return self.last("time/wall_s") or 0.0

    def curve(self, key: str) -> LearningCurve:
        """Return (step, value) of every report that has the metric ``key``."""
        return [(point.step, value) for point in self.points if (value := point.values.get(key)) is not None]

    def last(self, key: str) -> float | None:
        """Return the value of the metric ``key`` at the last report that has it, or None if none has it."""
        found = self.curve(key)
        return found[-1][1] if found else None

    def best(self) -> PointRecord | None:
        """Return the report with the best objective, the first of equals, or None if no report has the objective."""
        goal = self.spec.objective
        scored = [point for point in self.points if point.values.get(goal.metric) is not None]
        return max(scored, key=lambda point: goal.merit(point.values[goal.metric]), default=None)

    def value(self, key: str) -> float | None:
        """Return the metric ``key`` at the report with the best objective, or None if it is not there.

        Test metrics are reported once, for the best parameters, and are returned from whichever report has them.
        """
        if key.startswith("test/"):
            return self.last(key)
        point = self.best()
        return None if point is None else point.values.get(key)

    def first(self, holds: Callable[[PointRecord], bool]) -> PointRecord | None:
        """Return the first report for which ``holds`` returns True, or None if there is none."""
        return next((point for point in self.points if holds(point)), None)


@dataclass(frozen=True)
class Group:
    """One or more trials of a sweep that differ only in their seed."""

    trials: Sequence[TrialOutcome]

    @property
    def spec(self) -> TrialSpec:
        """The specification of the first trial, which is that of all but for the seed."""
        return self.trials[0].spec

    @property
    def spectral(self) -> bool:
        """Whether the model's kind starts with ``spectral_``: it is one of this project's nets, and no baseline."""
        return self.trials[0].spectral

    @property
    def label(self) -> str:
        """The model in one line, as the function ``label`` describes it."""
        return label(self.spec)

    @property
    def task(self) -> str:
        """Name of the task and its data set, length, steps and order, as far as it has them."""
        fields = self.spec.task.model_dump()
        own = [f"{key} {fields[key]}" for key in ("dataset", "length", "steps", "order") if fields.get(key) is not None]
        return ", ".join([fields["name"], *own])

    @property
    def complete(self) -> bool:
        """Whether no trial diverged or was lost; otherwise a mean over the others would be a mean of survivors."""
        return not any(trial.diverged or trial.lost for trial in self.trials)

    @property
    def parameters(self) -> Parameters:
        """The numbers of parameters of the model: of all, and of those in the recurrence or the layers."""
        return count_parameters(self.spec.model, self.spec.task)

    @property
    def size(self) -> str:
        """The numbers of ``parameters`` as text: of all, and in brackets of those in the recurrence or the layers."""
        found = self.parameters
        return f"{found.total:,} ({found.recurrent:,})"

    @property
    def steps(self) -> str:
        """The number of training steps that a trial was to do, as text."""
        return f"{self.spec.training.steps:,}"

    @property
    def seconds(self) -> list[float]:
        """The seconds that the pack of each trial spent in training and scoring."""
        return [trial.seconds for trial in self.trials]

    @property
    def pack_size(self) -> str:
        """The number of trials in the largest of the packs in which these trials were trained, as text."""
        return str(max(trial.pack_size for trial in self.trials))

    @property
    def seeds(self) -> str:
        """The number of trials as text, and in brackets how many diverged and how many were lost, if any."""
        diverged, lost = sum(trial.diverged for trial in self.trials), sum(trial.lost for trial in self.trials)
        parts = [f"{diverged} diverged"] if diverged else []
        parts += [f"{lost} lost"] if lost else []
        return f"{len(self.trials)}" + (f" ({', '.join(parts)})" if parts else "")

    def values(self, key: str) -> list[float]:
        """Return ``value(key)`` of every trial that has the metric ``key``."""
        return [value for trial in self.trials if (value := trial.value(key)) is not None]

    def mean(self, key: str) -> float | None:
        """Return the mean of ``values(key)``, or None if no trial has the metric ``key``."""
        found = self.values(key)
        return sum(found) / len(found) if found else None


def trials_of(record: Record) -> list[TrialOutcome]:
    """Return the trials of a record, in order of number.

    Raises:
        RecordWrong: If the record's sweep is not valid in this version, or a trial of it cannot be trained.
    """
    try:
        sweep = SweepSpec.model_validate(record.spec)
        specs = [plan_trial(sweep, trial.number, trial.params).require_spec() for trial in record.trials]
    except (ValidationError, SpecError) as error:
        raise RecordWrong(
            f"the sweep in the record {record.stem} is not valid in this version: it was made by another one. "
            "Run its experiment with --again."
        ) from error
    sizes = Counter(trial.pack for trial in record.trials)
    return [
        TrialOutcome(
            record.stem,
            spec,
            t.state,
            t.cause,
            t.reason,
            t.points,
            pack_size=sizes[t.pack] if t.pack else 1,
        )
        for t, spec in zip(record.trials, specs, strict=True)
    ]


def groups(trials: Iterable[TrialOutcome]) -> list[Group]:
    """Group the trials of one sweep that differ only in their seed; groups are in the order of their first trials."""
    found: dict[str, list[TrialOutcome]] = {}
    for trial in trials:
        spec = trial.spec
        key = repr((spec.task, spec.model, spec.training.model_copy(update={"seed": 0}), trial.sweep))
        found.setdefault(key, []).append(trial)
    return [Group(own) for own in found.values()]


def best_of(found: Iterable[Group]) -> Group | None:
    """Return the group with the best mean of its objective over the seeds, or None if there are no groups.

    Of equal groups it is the one with the least mean validation loss, and of these the first. Groups without an
    objective come last.
    """

    def rank(group: Group) -> tuple[float, float]:
        goal = group.spec.objective
        mean, loss = group.mean(goal.metric), group.mean("val/loss")
        return -goal.merit(mean), float("inf") if loss is None else loss

    return min(found, key=rank, default=None)


def label(spec: TrialSpec) -> str:
    """Return a model in one line: ``spectral_rnn (n=128, 16+16 reflectors, modrelu, gaussian, r=0.01, lr=0.001)``.

    Left out is what the kind of model does not have. At the end are the swept fields of the training, except the seed.
    """
    model = spec.model
    parts = [f"n={model.hidden_size}"]
    parts += [f"{model.layers} layers"] if model.layers > 1 else []
    parts += ["{}+{} reflectors".format(*model.reflector_counts)] if model.reflected else []
    fixed = model.kind in ("lstm", "gru", "spectral_lstm", "spectral_gru", "irnn")
    parts += [] if fixed else [model.nonlinearity]
    parts += [model.start_name] if model.reflected else []
    parts += [f"r={model.band_margin:g}"] if model.spectral else []
    swept = {
        path.removeprefix("training."): value for path, value in spec.params.items() if path.startswith("training.")
    }
    parts += [f"{name}={value}" for name, value in swept.items() if name != "seed"]
    return f"{model.kind} ({', '.join(parts)})"
