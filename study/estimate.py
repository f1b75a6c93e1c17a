"""How long a study takes, reckoned from records of it or of a dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.records import Record
from study.trials import TrialOutcome, trials_of
from workers.spec.expand import plan_trials
from workers.spec.sweep import SweepSpec


def core_seconds(record: Record, trials: Sequence[TrialOutcome]) -> float:
    """What a sweep took of all cores it asked for: the packs' own clocks, training and scoring. trials: its own."""
    return float(record.spec["resources"]["cpus"]) * sum(trial.seconds / trial.together for trial in trials)


def expected(sweep: SweepSpec, record: Record) -> float | None:
    """The same of a sweep whose shorter or equal run is recorded; None where that has no times."""
    known = [(a, b) for trial in trials_of(record) if (rates := _rates(trial)) is not None for a, b in [rates]]
    if not known:
        return None
    a_step, a_report = sum(a for a, _ in known) / len(known), sum(b for _, b in known) / len(known)
    trainings = [plan.require_spec().training for plan in plan_trials(sweep)]
    steps = sum(training.steps for training in trainings)
    reports = sum(-(-training.steps // training.report_interval) + 1 for training in trainings)
    return float(sweep.resources.cpus) * (steps * a_step + reports * a_report)


def _rates(trial: TrialOutcome) -> tuple[float, float] | None:
    """A trial's share of its pack's seconds for a step and for a report."""
    before, training = 0, 0.0
    for point in trial.points:
        throughput = point.values.get("throughput/sequences_per_s")
        if throughput:
            training += (point.step - before) * trial.spec.training.batch_size / throughput
        before = point.step
    if not before or not training:
        return None
    reports = len(trial.points) + 1
    return training / before / trial.together, max(0.0, trial.seconds - training) / reports / trial.together


def total(sweeps: Mapping[str, SweepSpec], records: Mapping[str, Record]) -> tuple[float, list[str]]:
    """Core seconds of the sweeps in all, and the names of those that nothing is known of."""
    seconds, unknown = 0.0, []
    for stem, sweep in sweeps.items():
        own = expected(sweep, records[stem]) if stem in records else None
        if own is None:
            unknown.append(stem)
        seconds += own or 0.0
    return seconds, unknown
