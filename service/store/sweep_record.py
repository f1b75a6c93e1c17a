"""Reads a sweep and its trials for its report: columns alone, so that 20,000 trials take little time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from pydantic import ValidationError
from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from service.report.analysis import Analysis
from service.report.record import PackUse, SweepRecord, TrialRow
from service.report.thinning import thin
from service.store.database import Database
from service.store.errors import NotFound
from service.store.tables import Attempt, Pack, Sweep, Trial, TrialReport
from workers.spec.expand import objectives
from workers.spec.sweep import SweepSpec
from workers.spec.trial import Objective

IDS_AT_ONCE = 400
"""How many trials one query for reports names."""
ROWS_AT_ONCE, REPORTS_AT_ONCE = 20_000, 500
"""How many single values, and how many whole reports, one query returns."""
DIAGNOSTICS = ("spectral", "grad_t/")
"""How the names of a trial's singular values and gradient norms begin."""
MAX_REPORTS = 1_000
"""About the most reports of one trial that are kept."""


def read(session: Session, sweep: Sweep, *, with_packs: bool = True, with_values: bool = True) -> SweepRecord:
    """Return a sweep and its trials, with the metrics at their best checkpoints if further objectives need them.

    Args:
        session: A session.
        sweep: The sweep's row.
        with_packs: Whether to read what its packs have used.
        with_values: Whether to read what further objectives need of the trials' reports.
    """
    try:
        spec = SweepSpec.model_validate(sweep.spec)
    except ValidationError:
        spec = None
    first = Objective(metric=sweep.metric, direction="maximize" if sweep.direction == "maximize" else "minimize")
    goals = (first, *objectives(spec)[1:]) if spec else (first,)
    needs_reports = with_values and any(goal.metric != "parameters" for goal in goals[1:])
    rows = _rows(session, sweep.id, needs_reports)
    return SweepRecord(
        sweep.id, sweep.name, sweep.state, goals, spec, rows, _packs(session, sweep.id) if with_packs else []
    )


def analysis_of(database: Database, record: SweepRecord) -> Analysis:
    """Return the analysis of a sweep, which reads curves and reports when they are needed, each in a short session."""

    def read_curves(rows: Sequence[TrialRow], metric: str, most: int) -> list[tuple[int, list[tuple[int, float]]]]:
        with database.read() as session:
            return list(curves(session, rows, metric, most))

    def read_reports(row: TrialRow) -> list[tuple[int, dict[str, float]]]:
        with database.read() as session:
            return diagnostics(session, row.trial_id)

    return Analysis(record, read_curves, read_reports)


def _rows(session: Session, sweep_id: str, with_reports: bool) -> list[TrialRow]:
    own = (Trial.number, Trial.id, Trial.params, Trial.state, Trial.objective, Trial.best_step, Trial.step)
    query = select(*own, Trial.reason, Trial.started_at, Trial.ended_at).where(Trial.sweep_id == sweep_id)
    rows = [TrialRow(*row) for row in session.execute(query.order_by(Trial.number))]
    if not with_reports:
        return rows
    at_best = select(Trial.number, TrialReport.values).join(
        TrialReport, and_(TrialReport.trial_id == Trial.id, TrialReport.step == Trial.best_step)
    )
    found = {
        number: {name: value for name, value in values.items() if name.startswith(("val/", "time/"))}
        for number, values in session.execute(at_best.where(Trial.sweep_id == sweep_id))
    }
    return [row._replace(at_best=found.get(row.number, {})) for row in rows]


def _packs(session: Session, sweep_id: str) -> list[PackUse]:
    """Return what each pack has used, from its first attempt on; one that has not ended uses its devices until now."""
    latest = func.max(func.coalesce(Attempt.ended_at, Pack.seen_at, Attempt.started_at))
    query = select(func.min(Attempt.started_at), latest, Pack.ended_at, Pack.gpus, Pack.cpus, Pack.state)
    query = query.join(Pack, Pack.id == Attempt.pack_id).where(Pack.sweep_id == sweep_id)
    query = query.group_by(Pack.id, Pack.ended_at, Pack.gpus, Pack.cpus, Pack.state)
    now = time.time()
    return [
        PackUse(start, (ended or last) if state == "ended" else now, gpus, cpus)
        for start, last, ended, gpus, cpus, state in session.execute(query)
    ]


def curves(
    session: Session, rows: Sequence[TrialRow], metric: str, most: int
) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Yield the number and the curve of one metric of some trials, in order of step, thinned to ``most`` points.

    Trials that have never reported the metric are left out. The database reads one number of each report, and the
    curves of ``IDS_AT_ONCE`` trials are in memory at a time.
    """
    for start in range(0, len(rows), IDS_AT_ONCE):
        numbers = {row.trial_id: row.number for row in rows[start : start + IDS_AT_ONCE]}
        yield from thinned_curves(session, numbers, metric, most)


def thinned_curves(
    session: Session, numbers: Mapping[str, int], metric: str, most: int
) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Yield the number and the curve of one metric of some trials, by their ids, as ``curves`` does."""
    for trial_id, points in groupby(_values(session, list(numbers), metric), key=lambda point: point[0]):
        kept = thin(_known(points), most)
        if kept:
            yield numbers[trial_id], kept


def _values(session: Session, ids: Sequence[str], metric: str) -> Iterator[tuple[str, int, float | None]]:
    """Yield (trial, step, value of a metric) of every report of some trials, in that order, page by page."""
    place, value = (TrialReport.trial_id, TrialReport.step), TrialReport.values[metric].as_float()
    query = select(*place, value).where(TrialReport.trial_id.in_(ids)).order_by(*place).limit(ROWS_AT_ONCE)
    after = TrialReport.trial_id > ""
    while page := session.execute(query.where(after)).all():
        yield from ((trial_id, step, found) for trial_id, step, found in page)
        if len(page) < ROWS_AT_ONCE:
            return
        trial_id, step, _ = page[-1]
        same = and_(TrialReport.trial_id == trial_id, TrialReport.step > step)
        after = or_(TrialReport.trial_id > trial_id, same)


def _known(points: Iterable[tuple[str, int, float | None]]) -> Iterator[tuple[int, float]]:
    return ((step, float(value)) for _, step, value in points if value is not None)


def diagnostics(session: Session, trial_id: str) -> list[tuple[int, dict[str, float]]]:
    """Return the diagnostics that a trial has reported, as (step, values by name) in order of step.

    Steps without any are left out, and of many steps every k-th is kept, so that the number is bounded.
    """
    own = (
        (step, {name: value for name, value in values.items() if name.startswith(DIAGNOSTICS)})
        for step, values in _reports(session, trial_id)
    )
    return thin((point for point in own if point[1]), MAX_REPORTS)


def _reports(session: Session, trial_id: str) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield (step, metrics by name) of every report of a trial in order of step, page by page."""
    query = select(TrialReport.step, TrialReport.values).where(TrialReport.trial_id == trial_id)
    query, after = query.order_by(TrialReport.step).limit(REPORTS_AT_ONCE), -1
    while page := session.execute(query.where(TrialReport.step > after)).all():
        yield from ((step, values) for step, values in page)
        after = page[-1].step


def no_trial(sweep_id: str, number: int) -> NotFound:
    """Return the error that says that a sweep has no trial with a number."""
    return NotFound("trial", f"{sweep_id}-{number:04d}")
