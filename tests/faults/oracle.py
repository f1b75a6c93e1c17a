"""The oracle: what is wrong with the end of a disturbed sweep, against an undisturbed run of the same document."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from service.states import SWEEP_ENDED
from tests.faults.documents import REPORT_EVERY, STEPS
from tests.faults.outcome import Point, RunOutcome, SweepOutcome, TrialOutcome, Values

Kind = Literal["lost", "doubled", "stuck", "wrong"]
Verb = Literal["pause", "stop", "cancel"]

TOLERANCE = 1e-6
"""How far a metric may be from the undisturbed one, relative to it and absolutely, if the trial was trained in a pack
of another make-up meanwhile: rounding depends on that, and training lets differences grow."""
ENDS: dict[Verb | None, set[str]] = {
    None: {"succeeded"},
    "pause": {"succeeded"},
    "stop": {"stopped", "succeeded"},
    "cancel": {"cancelled"},
}
"""The states in which a sweep may end after a verb that was accepted. A paused sweep is resumed."""
IN_MLFLOW = {
    "succeeded": "FINISHED",
    "stopped": "FINISHED",
    "failed": "FAILED",
    "pruned": "KILLED",
    "cancelled": "KILLED",
}
"""What MLflow has to call the end of a sweep or a trial."""
ALL_STEPS = list(range(REPORT_EVERY, STEPS + 1, REPORT_EVERY))


@dataclass(frozen=True)
class Violation:
    """One promise that was not kept: what kind it is of, and what was found, for a person to read."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Allowed:
    """What the faults of a schedule may do to a sweep.

    Attributes:
        verb: The verb that the user gave and the service accepted; None if there was none.
        charges: How many failures may be charged to one trial.
        spares_runners: Whether every trial must have been trained in one attempt.
    """

    verb: Verb | None = None
    charges: int = 0
    spares_runners: bool = False


def judge(found: SweepOutcome, undisturbed: SweepOutcome, allowed: Allowed) -> list[Violation]:
    """Return all promises that the end of a sweep does not keep; none if all is well."""
    if found.state not in SWEEP_ENDED:
        return [Violation("stuck", f"the sweep is {found.state} and does not end"), *_service(found)]
    return [
        *_sweep(found, undisturbed, allowed),
        *(violation for trial in found.trials for violation in _trial(trial, undisturbed, allowed)),
        *_events(found),
        *_mlflow(found),
        *_service(found),
    ]


def _sweep(found: SweepOutcome, undisturbed: SweepOutcome, allowed: Allowed) -> Iterator[Violation]:
    if found.sweeps_of_key != 1:
        kind: Kind = "doubled" if found.sweeps_of_key else "lost"
        yield Violation(kind, f"one submission has made {found.sweeps_of_key} sweeps")
    if found.state not in ENDS[allowed.verb]:
        yield Violation("wrong", f"the sweep ended as {found.state} after {allowed.verb or 'no verb'}: {found.reason}")
    params = {trial.number: trial.params for trial in undisturbed.trials}
    proposed = [trial.number for trial in found.trials]
    if len(proposed) != len(set(proposed)):
        yield Violation("doubled", f"trials were made twice: {sorted(proposed)}")
    if allowed.verb is None and len(proposed) < len(params):
        yield Violation("lost", f"only the trials {sorted(proposed)} were made, of {len(params)}")
    for trial in found.trials:
        if trial.params != params.get(trial.number):
            yield Violation("wrong", f"trial {trial.number} has {trial.params}, not {params.get(trial.number)}")
    for trial_id, step in found.again:
        yield Violation(
            "wrong", f"{trial_id} wrote the checkpoint of step {step} though it had a whole one that is as new"
        )
    for path in found.half if found.state == "succeeded" else ():
        yield Violation("stuck", f"a half checkpoint is left: {path}")


def _trial(trial: TrialOutcome, undisturbed: SweepOutcome, allowed: Allowed) -> Iterator[Violation]:
    name = f"trial {trial.number}"
    ends = {"succeeded"} if allowed.verb in (None, "pause") else {"succeeded", "cancelled"}
    if trial.state not in ends:
        yield Violation("wrong", f"{name} ended as {trial.state}: {trial.reason}")
    steps = sorted(trial.values)
    wanted = ALL_STEPS if trial.state == "succeeded" else ALL_STEPS[: len(steps)]
    missing = sorted(set(wanted) - set(steps))
    if missing:
        yield Violation("lost", f"{name} has no report of the steps {missing}")
    if set(steps) - set(wanted) - set(missing) and len(steps) > len(wanted):
        yield Violation("wrong", f"{name} reports steps that it should not: {sorted(set(steps) - set(wanted))}")
    if trial.user_failures:
        yield Violation("wrong", f"{name} is charged {trial.user_failures} failures of the user's: {trial.reason}")
    if trial.infrastructure_failures > allowed.charges:
        text = (
            f"{name} is charged {trial.infrastructure_failures} failures of the machine, not {allowed.charges} at most"
        )
        yield Violation("wrong", text)
    outcomes = [attempt.outcome for attempt in trial.attempts]
    if allowed.spares_runners and len(outcomes) > 1 and allowed.verb is None:
        yield Violation(
            "wrong", f"{name} was trained in {len(outcomes)} attempts ({outcomes}), although no runner was hit"
        )
    if None in outcomes:
        yield Violation("stuck", f"{name} has an attempt that has not ended")
    yield from _values(trial, next((other for other in undisturbed.trials if other.number == trial.number), None))


def _values(trial: TrialOutcome, undisturbed: TrialOutcome | None) -> Iterator[Violation]:
    if undisturbed is None:
        return
    same = {a.pack for a in trial.attempts} <= {a.pack for a in undisturbed.attempts}
    for step in sorted(trial.values.keys() & undisturbed.values.keys()):
        if not _equal(trial.values[step], undisturbed.values[step], 0.0 if same else TOLERANCE):
            how = "the same pack" if same else "packs of another make-up"
            text = f"trial {trial.number} has other values from step {step} on, in {how}: {_worst(trial.values, step)}"
            yield Violation("wrong", text)
            return


def _equal(found: dict[str, float], wanted: dict[str, float], tolerance: float) -> bool:
    return found.keys() == wanted.keys() and all(
        math.isclose(value, wanted[key], rel_tol=tolerance, abs_tol=tolerance) for key, value in found.items()
    )


def _worst(values: Values, step: int) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in sorted(values[step].items())[:4])


def _events(found: SweepOutcome) -> Iterator[Violation]:
    for where, seqs in (("the table", found.event_seqs), ("the reader", found.read_seqs)):
        times = Counter(seqs)
        missing = [seq for seq in range(1, max(found.event_seqs, default=0) + 1) if seq not in times]
        twice = [seq for seq, count in times.items() if count > 1]
        if missing:
            yield Violation("lost", f"{where} lacks the events {missing[:10]}")
        if twice:
            yield Violation("doubled", f"{where} has the events {twice[:10]} more than once")
        if list(seqs) != sorted(seqs):
            yield Violation("wrong", f"{where} has events out of order")


def _mlflow(found: SweepOutcome) -> Iterator[Violation]:
    if found.unwritten:
        yield Violation("stuck", f"{found.unwritten} entries of the outbox are not written to MLflow")
    yield from _runs("the sweep", found.parents, IN_MLFLOW[found.state], None)
    for trial in found.trials:
        runs = found.runs.get(trial.number, ())
        if runs or trial.values:
            yield from _runs(f"trial {trial.number}", runs, IN_MLFLOW.get(trial.state), trial.points)
    for number in found.runs.keys() - {trial.number for trial in found.trials}:
        yield Violation("doubled", f"MLflow has {len(found.runs[number])} runs of a trial that it cannot name")


def _runs(
    name: str, runs: tuple[RunOutcome, ...], status: str | None, points: Counter[Point] | None
) -> Iterator[Violation]:
    if not runs:
        yield Violation("lost", f"MLflow has no run of {name}")
    if len(runs) > 1:
        yield Violation("doubled", f"MLflow has {len(runs)} runs of {name}: {[run.status for run in runs]}")
    for run in runs:
        if run.status == "RUNNING":
            yield Violation("stuck", f"MLflow still shows {name} as RUNNING")
        elif run.status != status:
            yield Violation("wrong", f"MLflow shows {name} as {run.status}, not {status}")
    if points is not None and len(runs) == 1:
        if missing := points - runs[0].points:
            yield Violation("lost", f"MLflow lacks {missing.total()} points of {name}, such as {next(iter(missing))}")
        if extra := runs[0].points - points:
            yield Violation("doubled", f"MLflow has {extra.total()} points too many of {name}, as {next(iter(extra))}")


def _service(found: SweepOutcome) -> Iterator[Violation]:
    for process in found.orphans:
        yield Violation("stuck", f"a process is left that nobody needs: {process}")
    if not found.ready:
        yield Violation("stuck", "the service is not ready again")
