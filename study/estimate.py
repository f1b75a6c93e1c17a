"""Estimates of how long a study takes, from records of earlier runs or of a dry run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.records import Record
from study.trials import TrialOutcome, trials_of
from workers.spec.expand import plan_trials
from workers.spec.sweep import SweepSpec


def core_seconds(record: Record, trials: Sequence[TrialOutcome]) -> float:
    """Return the core seconds that a sweep took: training and scoring, by the clocks of its packs.

    Args:
        record: Record of the sweep.
        trials: Its trials.
    """
    return float(record.spec["resources"]["cpus"]) * sum(trial.seconds / trial.pack_size for trial in trials)


def expected(sweep: SweepSpec, record: Record) -> float | None:
    """Estimate the core seconds of a sweep.

    Args:
        sweep: The sweep.
        record: Record of a run of it that had as many steps or fewer.

    Returns:
        The core seconds, or None if the record has no times.
    """
    known = [(a, b) for trial in trials_of(record) if (rates := _rates(trial)) is not None for a, b in [rates]]
    if not known:
        return None
    a_step, a_report = sum(a for a, _ in known) / len(known), sum(b for _, b in known) / len(known)
    trainings = [plan.require_spec().training for plan in plan_trials(sweep)]
    steps = sum(training.steps for training in trainings)
    reports = sum(-(-training.steps // training.report_interval) + 1 for training in trainings)
    return float(sweep.resources.cpus) * (steps * a_step + reports * a_report)


def _rates(trial: TrialOutcome) -> tuple[float, float] | None:
    """Return the trial's share of its pack's seconds per step and per report; None if it has no times."""
    before, training = 0, 0.0
    for point in trial.points:
        throughput = point.values.get("throughput/sequences_per_s")
        if throughput:
            training += (point.step - before) * trial.spec.training.batch_size / throughput
        before = point.step
    if not before or not training:
        return None
    reports = len(trial.points) + 1
    return training / before / trial.pack_size, max(0.0, trial.seconds - training) / reports / trial.pack_size


def total(sweeps: Mapping[str, SweepSpec], records: Mapping[str, Record]) -> tuple[float, list[str]]:
    """Return the core seconds of all sweeps, and the names of those without a record, which are not counted."""
    seconds, unknown = 0.0, []
    for stem, sweep in sweeps.items():
        own = expected(sweep, records[stem]) if stem in records else None
        if own is None:
            unknown.append(stem)
        seconds += own or 0.0
    return seconds, unknown
