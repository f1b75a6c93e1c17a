"""Trials of a study as the experiments read them: resolved specs with their histories, and groups over seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from study.errors import RecordWrong
from study.records import PointRecord, Record
from workers.spec.expand import plan_trial
from workers.spec.parameter_count import Parameters, count_parameters
from workers.spec.sweep import SweepSpec
from workers.spec.trial import TrialSpec

LearningCurve = list[tuple[int, float]]


@dataclass(frozen=True)
class TrialOutcome:
    """``together``: trials of the pack it was trained in, itself among them; its seconds are the pack's."""

    sweep: str
    spec: TrialSpec
    state: str
    cause: str | None
    reason: str | None
    points: Sequence[PointRecord]
    together: int

    @property
    def diverged(self) -> bool:
        """Whether its own numbers ended it."""
        return self.state == "failed" and self.cause == "user"

    @property
    def lost(self) -> bool:
        """Whether it was ended from outside."""
        return self.state in ("failed", "cancelled") and not self.diverged

    @property
    def spectral(self) -> bool:
        return self.spec.model.kind.startswith("spectral_")

    @property
    def seconds(self) -> float:
        """Training and scoring up to the last report."""
        return self.last("time/wall_s") or 0.0

    def curve(self, key: str) -> LearningCurve:
        """(step, value) of the reports that have it."""
        return [(point.step, value) for point in self.points if (value := point.values.get(key)) is not None]

    def last(self, key: str) -> float | None:
        """Its newest value."""
        found = self.curve(key)
        return found[-1][1] if found else None

    def best(self) -> PointRecord | None:
        """The report with the best objective, the first of equals."""
        goal = self.spec.objective
        scored = [point for point in self.points if point.values.get(goal.metric) is not None]
        sign = 1.0 if goal.direction == "minimize" else -1.0
        return min(scored, key=lambda point: sign * (point.values[goal.metric] or 0.0), default=None)

    def value(self, key: str) -> float | None:
        """At the best report. Test metrics, told once, are those of the best parameters."""
        if key.startswith("test/"):
            return self.last(key)
        point = self.best()
        return None if point is None else point.values.get(key)

    def first(self, holds: Callable[[PointRecord], bool]) -> PointRecord | None:
        """The first report for which this holds."""
        return next((point for point in self.points if holds(point)), None)


@dataclass(frozen=True)
class Group:
    """Trials that differ in their seed alone, at least one."""

    trials: Sequence[TrialOutcome]

    @property
    def spec(self) -> TrialSpec:
        return self.trials[0].spec

    @property
    def spectral(self) -> bool:
        return self.trials[0].spectral

    @property
    def label(self) -> str:
        return label(self.spec)

    @property
    def task(self) -> str:
        """The name of its task with what tells it from others of that name."""
        fields = self.spec.task.model_dump()
        own = [f"{key} {fields[key]}" for key in ("dataset", "length", "steps", "order") if fields.get(key) is not None]
        return ", ".join([fields["name"], *own])

    @property
    def whole(self) -> bool:
        """Whether every one of them came to its end: a mean of those that did is a mean of survivors."""
        return not any(trial.diverged or trial.lost for trial in self.trials)

    @property
    def parameters(self) -> Parameters:
        return count_parameters(self.spec.model, self.spec.task)

    @property
    def size(self) -> str:
        """Parameters in all, and of the recurrence or the layers."""
        found = self.parameters
        return f"{found.total:,} ({found.recurrent:,})"

    @property
    def steps(self) -> str:
        return f"{self.spec.training.steps:,}"

    @property
    def seconds(self) -> list[float]:
        return [trial.seconds for trial in self.trials]

    @property
    def together(self) -> str:
        """Trials of the fullest pack."""
        return str(max(trial.together for trial in self.trials))

    @property
    def seeds(self) -> str:
        """How many, and how many of them gave no result."""
        diverged, lost = sum(trial.diverged for trial in self.trials), sum(trial.lost for trial in self.trials)
        parts = [f"{diverged} diverged"] if diverged else []
        parts += [f"{lost} lost"] if lost else []
        return f"{len(self.trials)}" + (f" ({', '.join(parts)})" if parts else "")

    def values(self, key: str) -> list[float]:
        """``Trial.value`` of those that have it."""
        return [value for trial in self.trials if (value := trial.value(key)) is not None]

    def mean(self, key: str) -> float | None:
        found = self.values(key)
        return sum(found) / len(found) if found else None


def trials_of(record: Record) -> list[TrialOutcome]:
    """The trials of a record, by number."""
    try:
        sweep = SweepSpec.model_validate(record.spec)
    except ValidationError as error:
        raise RecordWrong(f"the record {record.stem} is of another version: run its experiment again") from error
    sizes = Counter(trial.pack for trial in record.trials)
    return [
        TrialOutcome(
            record.stem, plan_trial(sweep, t.number, t.params).require_spec(), t.state, t.cause, t.reason,
            t.points,             together=sizes[t.pack] if t.pack else 1,
        )
        for t in record.trials
    ]  # fmt: skip


def groups(trials: Iterable[TrialOutcome]) -> list[Group]:
    """In the order of the trials."""
    found: dict[str, list[TrialOutcome]] = {}
    for trial in trials:
        spec = trial.spec
        key = repr((spec.task, spec.model, spec.training.model_copy(update={"seed": 0}), trial.sweep))
        found.setdefault(key, []).append(trial)
    return [Group(own) for own in found.values()]


def best_of(found: Iterable[Group]) -> Group | None:
    """The group with the best mean of the objective that it was selected by, of equals the one with the least
    validation loss; those without any come last."""

    def rank(group: Group) -> tuple[float, float]:
        goal = group.spec.objective
        mean, loss = group.mean(goal.metric), group.mean("val/loss")
        first = float("inf") if mean is None else mean if goal.direction == "minimize" else -mean
        return first, float("inf") if loss is None else loss

    return min(found, key=rank, default=None)


def label(spec: TrialSpec) -> str:
    """A model in a line: kind, sizes and what is its own."""
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
