"""The core seconds that sweeps took, and estimates of those that they will take, from records of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from study.records import Record
from study.trials import TrialOutcome, trials_of
from workers.spec.expand import plan_trials
from workers.spec.sweep import SweepSpec


def core_seconds(record: Record, trials: Sequence[TrialOutcome]) -> float:
    """Return the seconds that the packs of a sweep spent in training and scoring, times the CPUs of a pack.

    A trial's seconds are those of its whole pack, so each trial counts with its seconds divided by the size of its
    pack. Steps that a lost process had done after its last checkpoint, and that were done again, count once.

    Args:
        record: Record of the sweep, of which ``resources.cpus`` is used.
        trials: All trials of the record.
    """
    return float(record.spec["resources"]["cpus"]) * sum(trial.seconds / trial.pack_size for trial in trials)


def expected(sweep: SweepSpec, record: Record) -> float | None:
    """Estimate the core seconds that a sweep will take, from the mean seconds per step and per report of a record.

    Args:
        sweep: The sweep to estimate.
        record: Record of an earlier run of the same sweep, for example of a dry run with fewer steps.

    Returns:
        The core seconds, or None if no trial of the record has reported a throughput.

    Raises:
        RecordWrong: If the record's sweep is not valid in this version.
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
    """Return the trial's share of its pack's seconds per step and per report; None if it reported no throughput."""
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
    """Estimate the core seconds of all sweeps together.

    Args:
        sweeps: The sweeps by name.
        records: Records of earlier runs by the name of their sweep.

    Returns:
        The core seconds, and the names of the sweeps that are not counted in them, because they have no record or one
        without times.
    """
    seconds, unknown = 0.0, []
    for stem, sweep in sweeps.items():
        own = expected(sweep, records[stem]) if stem in records else None
        if own is None:
            unknown.append(stem)
        seconds += own or 0.0
    return seconds, unknown
