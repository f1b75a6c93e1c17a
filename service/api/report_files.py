"""``/v1/sweeps/{id}/report`` and the files of a report: figures, CSV, HTML, and a study of Optuna.

What draws and computes is imported when it is first needed, so that the API starts fast.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter

from service import schemas
from service.api import report
from service.api.answers import answer
from service.api.deps import Context, Ctx, SweepId
from service.api.problems import Refused
from service.api.report import ReportPart
from service.api.strict_query import Known
from service.report.figure_names import OF_ONE_TRIAL, FigureKind, FigureName
from service.report.record import SweepRecord
from service.store import sweep_record, sweeps

router = APIRouter(prefix="/v1/sweeps", tags=["reports"], dependencies=[Known])

CSV, HTML, SQLITE = "text/csv", "text/html", "application/vnd.sqlite3"
PICTURES: dict[FigureKind, str] = {"png": "image/png", "svg": "image/svg+xml"}
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"
"""What a page or a picture of a report may load: nothing but the styles and pictures that it contains."""

TrialNumber = Annotated[int | None, Query(ge=0, le=999_999, description="The trial's number; the best one by default.")]


def _is_file(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return what the OpenAPI schema says of an answer that is a file."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "The file", "content": dict.fromkeys(kinds, binary)}}


@router.get("/{sweep_id}/report", response_model=schemas.SweepReport)
def get_report(
    sweep_id: SweepId,
    context: Ctx,
    include: Annotated[
        list[ReportPart] | None, Query(description="Further parts, which take longer; none by default.")
    ] = None,
    trial: TrialNumber = None,
) -> Response:
    """Return the sweep's 20 best trials, its trials' objectives by number of reflectors and margin, and further parts.

    ``trial`` says whose ``diagnostics`` are returned.
    """
    return answer(report.of(context.database, sweep_id, include or (), trial))


@router.get("/{sweep_id}/report.html", response_class=Response, responses=_is_file(HTML))
def get_html(sweep_id: SweepId, context: Ctx) -> Response:
    """Return the report as one HTML file with all figures and the trials, which loads nothing from any server."""
    from service.report.html_page import html_of

    with context.database.read() as session:
        sweep = sweeps.get(session, sweep_id)
        record = sweep_record.read(session, sweep)
    warnings = [f"{w['field']}: {w['problem']}" for w in report.warnings_of(sweep, record)]
    text = "".join(html_of(sweep_record.analysis_of(context.database, record), warnings))
    return Response(text, media_type=HTML, headers={"Content-Security-Policy": POLICY} | _named(sweep_id, "html"))


@router.get("/{sweep_id}/trials.csv", response_class=Response, responses=_is_file(CSV))
def get_csv(sweep_id: SweepId, context: Ctx) -> Response:
    """Return all trials that have been created as a table, best first, with a column for each swept field.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    from service.report.trial_table import csv_of

    text = "".join(csv_of(_record(context, sweep_id)))
    return Response(text, media_type=CSV, headers=_named(sweep_id, "csv", attachment=True))


@router.get("/{sweep_id}/optuna.db", response_class=Response, responses=_is_file(SQLITE))
def get_optuna_study(sweep_id: SweepId, context: Ctx) -> Response:
    """Return the sweep as a study of Optuna, an SQLite file that ``optuna.load_study`` and optuna-dashboard open.

    A sweep with more than 20,000 trials is refused.
    """
    from service.report.optuna_storage import MAX_TRIALS, points_per_trial, write_optuna_study

    record = _record(context, sweep_id)
    if len(record.rows) > MAX_TRIALS:
        detail = (
            f"sweep {sweep_id} has {len(record.rows):,} trials; a study of Optuna is made of at most {MAX_TRIALS:,}"
        )
        raise Refused(409, "Too many trials", detail)
    most = points_per_trial(len(record.rows))
    with tempfile.TemporaryDirectory(prefix="spectral-optuna-") as folder:
        path = Path(folder, "study.db")
        with context.database.read() as session:
            curves = sweep_record.curves(session, record.rows, record.objective.metric, most)
            write_optuna_study(record, curves, path)
        content = path.read_bytes()
    return Response(content, media_type=SQLITE, headers=_named(sweep_id, "db", attachment=True))


@router.get("/{sweep_id}/figures/{figure}.{kind}", response_class=Response, responses=_is_file(*PICTURES.values()))
def get_figure(
    sweep_id: SweepId,
    figure: Annotated[FigureName, PathParameter(description="Which figure.")],
    kind: Annotated[FigureKind, PathParameter(description="The kind of file.")],
    context: Ctx,
    trial: TrialNumber = None,
) -> Response:
    """Return a figure of the report as a picture.

    ``spectrum`` and ``gradients`` show one trial, which ``trial`` chooses. If there is nothing to show, the answer is
    404 and says why.
    """
    from service.report import figures
    from service.report.drawing import NothingToDraw, file_of

    if trial is not None and figure not in OF_ONE_TRIAL:
        raise Refused(422, "Invalid request", f"trial: {figure} shows all trials; leave trial out")
    record = _record(context, sweep_id)
    analysis = sweep_record.analysis_of(context.database, record)
    try:
        content = file_of(figures.draw(figure, analysis, report.row_of(record, trial)), kind)
    except NothingToDraw as reason:
        raise Refused(404, "Nothing to show", str(reason)) from None
    headers = {"Content-Security-Policy": POLICY} | _named(f"{sweep_id}-{figure}", kind)
    return Response(content, media_type=PICTURES[kind], headers=headers)


def _record(context: Context, sweep_id: str) -> SweepRecord:
    with context.database.read() as session:
        return sweep_record.read(session, sweeps.get(session, sweep_id))


def _named(stem: str, kind: str, attachment: bool = False) -> dict[str, str]:
    """Return the header by which a browser names a file. The parts are ids and names from tables."""
    shown = "attachment" if attachment else "inline"
    return {"Content-Disposition": f'{shown}; filename="{stem}.{kind}"'}
