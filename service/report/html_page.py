"""A report as one HTML file that needs nothing else: no script, no font, no request to any server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from service.report import figures, trial_table
from service.report.analysis import Analysis
from service.report.drawing import INK, PAPER, NothingToDraw, counted, svg_of
from service.report.figure_names import FIGURE_NAMES, QUESTIONS, FigureName
from service.report.record import SweepRecord, short

MAX_ROWS = 2_000
"""The most trials in the table; the CSV file has all."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""The content security policy of the page: it may show its own styles and pictures, and do nothing else."""
STYLE = """
:root { color-scheme: light dark; --ink: #20242a; --paper: #ffffff; --line: #d5d9df; --quiet: #5c6470; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7eb; --paper: #16191d; --line: #383e47; --quiet: #9aa3af; } }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2.2rem 0 0; }
.quiet { color: var(--quiet); } figure { margin: 0.5rem 0; } svg { max-width: 100%; height: auto; }
.scroll { overflow: auto; max-height: 40rem; border: 1px solid var(--line); }
table { border-collapse: collapse; font-size: 13px; white-space: nowrap; }
th, td { padding: 0.2rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; }
th { position: sticky; top: 0; background: var(--paper); } td.text { text-align: left; }
td.long { max-width: 30rem; overflow: hidden; text-overflow: ellipsis; }
@media print { .scroll { overflow: visible; max-height: none; } }
"""
_TITLES: dict[FigureName, str] = {
    "results": "Results",
    "learning_curves": "Learning curves",
    "best_so_far": "Best so far",
    "importance": "Importance",
    "parallel_coordinates": "Parallel coordinates",
    "pareto": "Several objectives",
    "spectrum": "Singular values of the best trial",
    "gradients": "Gradients of the best trial",
}
_TAG = re.compile(r"<[^>]*>")
_NAMES = re.compile(r'(\bid="|"#|url\(#)')


def html_of(
    analysis: Analysis, warnings: Sequence[str] = (), drawn: Mapping[FigureName, str] | None = None
) -> Iterator[str]:
    """Yield the page in parts.

    It follows the reader's choice of a dark or a light screen. All text of users is escaped.

    Args:
        analysis: The sweep.
        warnings: What makes the results hard to trust, in sentences.
        drawn: The figures that have been drawn already, by name, as ``drawing.svg_of`` returns them.
    """
    record = analysis.record
    yield (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(record.name)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>"
    )
    yield from _summary(record, warnings)
    for name in FIGURE_NAMES:
        if name != "pareto" or len(record.objectives) > 1:
            yield _figure(name, analysis, (drawn or {}).get(name))
    yield from _table(record)
    yield "</body></html>\n"


def _summary(record: SweepRecord, warnings: Sequence[str]) -> Iterator[str]:
    states: dict[str, int] = {}
    for row in record.rows:
        states[row.state] = states.get(row.state, 0) + 1
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    goals = ", ".join(f"{one.metric} ({one.direction})" for one in record.objectives)
    yield f"<h1>{escape(record.name)}</h1>"
    yield f'<p class="quiet">Sweep {escape(record.sweep_id)} is {escape(record.state)}. '
    yield f"{counted(len(record.rows), 'trial')}{f': {counts}' if counts else ''}. Objective: {escape(goals)}.</p>"
    best = record.best
    if best is not None:
        params = ", ".join(f"{path} = {short(value)}" for path, value in best.params.items())
        point, metric = record.best_point, escape(record.objective.metric)
        if point is not None and point.objective is not None and record.spec is not None:
            yield f"<p><strong>Best: point {point.number}</strong>, {metric} = {point.objective:.6g}, the "
            yield f"{record.spec.objective.statistic} of {counted(point.summary.n, 'trial')}</p>"
        yield f"<p><strong>{'Its best trial' if point else 'Best'}: trial {best.number}</strong>, {metric} = "
        yield f"{escape(f'{best.value:.6g}')} at step {best.best_step}: {escape(params)}</p>"
    if warnings:
        yield f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in warnings)}</ul>"


def _figure(name: FigureName, analysis: Analysis, svg: str | None) -> str:
    head = f'<h2>{_TITLES[name]}</h2><p class="quiet">{escape(QUESTIONS[name])}</p>'
    try:
        svg = svg or svg_of(figures.draw(name, analysis))
    except NothingToDraw as reason:
        return f"{head}<p>{escape(str(reason))}</p>"
    return f"{head}<figure>{inline_svg(svg, name)}</figure>"


def inline_svg(svg: str, prefix: str) -> str:
    """Return an SVG document as an element for a page with others: names are distinct, ink and paper are the page's."""
    text = svg[svg.index("<svg") :]
    text = _TAG.sub(lambda tag: _NAMES.sub(lambda found: f"{found[0]}{prefix}-", tag[0]), text)
    return text.replace(INK, "currentColor").replace(PAPER, "var(--paper)")


def _table(record: SweepRecord) -> Iterator[str]:
    shown = min(len(record.rows), MAX_ROWS)
    more = "" if shown == len(record.rows) else f" The first {shown:,} of {len(record.rows):,}; the CSV file has all."
    yield f'<h2>Trials</h2><p class="quiet">The best first; those without a result last.{more}</p>'
    if not shown:
        return
    names = trial_table.columns_of(record)
    yield f'<div class="scroll"><table><thead><tr>{_cells("th", names)}</tr></thead><tbody>'
    for row in islice(trial_table.rows_of(record), shown):
        yield f"<tr>{_cells('td', row)}</tr>"
    yield "</tbody></table></div>"


def _cells(tag: str, values: Iterable[Any]) -> str:
    return "".join(_cell(tag, value) for value in values)


def _cell(tag: str, value: Any) -> str:
    if value is None:
        return f"<{tag}></{tag}>"
    if isinstance(value, float):
        return f"<{tag}>{value:.6g}</{tag}>"
    text = escape(str(value))
    if tag == "th" or not isinstance(value, str):
        return f"<{tag}>{text}</{tag}>"
    long = f' long" title="{text}' if len(value) > 40 else ""
    return f'<td class="text{long}">{text}</td>'
