"""The report of an ended sweep as files for its MLflow run: figures, HTML, JSON, and the trials as CSV."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from pydantic_core import to_json

from service.report import figures
from service.report.analysis import Analysis
from service.report.drawing import NothingToDraw, file_of, on_white, svg_of
from service.report.figure_names import FIGURE_NAMES, FigureName
from service.report.html_page import html_of
from service.report.trial_table import csv_of

log = logging.getLogger(__name__)


def report_files(analysis: Analysis) -> dict[str, bytes]:
    """Return the content of each file by its path among the artifacts of the sweep's run.

    Figures that have nothing to show are left out. A file that cannot be made is logged and left out, too: the sweep
    has to end in MLflow all the same.
    """
    found: dict[str, bytes] = {}
    drawn: dict[FigureName, str] = {}
    for name in FIGURE_NAMES:
        found |= _made(name, partial(_figure, analysis, name, drawn))
    found |= _made("HTML", lambda: {"report/report.html": "".join(html_of(analysis, drawn=drawn)).encode()})
    found |= _made("CSV", lambda: {"report/trials.csv": "".join(csv_of(analysis.record)).encode()})
    return found | _made("JSON", lambda: {"report/report.json": _document(analysis)})


def _made(what: str, make: Callable[[], dict[str, bytes]]) -> dict[str, bytes]:
    try:
        return make()
    except NothingToDraw:
        return {}
    except Exception:
        log.exception("the %s of the report could not be made, and MLflow does not get it", what)
        return {}


def _figure(analysis: Analysis, name: FigureName, drawn: dict[FigureName, str]) -> dict[str, bytes]:
    """Return a figure's files, and note its drawing in ``drawn``."""
    figure = figures.draw(name, analysis)
    drawn[name] = svg_of(figure)
    figure.set_layout_engine("none")  # its parts have their room now: the second file need not find it anew
    return {f"plots/{name}.png": file_of(figure, "png"), f"plots/{name}.svg": on_white(drawn[name])}


def _document(analysis: Analysis) -> bytes:
    parts = {
        "sweep": analysis.record.sweep_id,
        "name": analysis.record.name,
        "objectives": [one.model_dump() for one in analysis.record.objectives],
        "grid": analysis.grid,
        "importance": analysis.importance,
        "learning_curves": analysis.learning_curves,
        "best_so_far": analysis.best_so_far,
        "parallel_coordinates": analysis.parallel,
        "pareto": analysis.pareto,
        "diagnostics": analysis.best_diagnostics,
    }
    return to_json(parts, inf_nan_mode="null", indent=1)
