"""All trials as a table: one row for each, one column for each swept field; as CSV that a spreadsheet opens safely."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from service.report.objective_values import ParameterCounter, value_of
from service.report.record import SweepRecord

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What text begins with that a spreadsheet would take for a formula."""
ROWS_AT_ONCE = 500
"""How many rows are written in one part."""


def columns_of(record: SweepRecord) -> list[str]:
    """Return the names of the table's columns."""
    further = [objective.metric for objective in record.objectives[1:]]
    own = ["rank", "trial", "trial_id", "state", record.objective.metric, *further, "best_step", "step"]
    return [*own, *record.paths, "started_at", "ended_at", "reason"]


def rows_of(record: SweepRecord) -> Iterator[list[Any]]:
    """Yield a row for each trial, the best first, those without a result last; None where there is no value.

    The rank counts from 1 and is None without a result.
    """
    counter = ParameterCounter(record.spec) if record.spec else None
    paths, further = record.paths, record.objectives[1:]
    for rank, row in enumerate(record.ranked, 1):
        values = [value_of(one.metric, row, counter) for one in further]
        yield [
            rank if row.has_result else None,
            row.number,
            row.trial_id,
            row.state,
            row.objective,
            *values,
            row.best_step,
            row.step,
            *(row.params.get(path) for path in paths),
            _time(row.started_at),
            _time(row.ended_at),
            row.reason,
        ]


def csv_of(record: SweepRecord) -> Iterator[str]:
    """Yield the table as CSV (RFC 4180), in parts of ``ROWS_AT_ONCE`` rows; the first part begins with the names.

    Text that a spreadsheet would take for a formula gets an apostrophe in front. Numbers are written as they are, with
    all digits; an empty cell is a missing value.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow([_cell(name) for name in columns_of(record)])
    for place, row in enumerate(rows_of(record), 1):
        writer.writerow([_cell(value) for value in row])
        if place % ROWS_AT_ONCE == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value) if math.isfinite(value) else str(value)
    # a spreadsheet ignores spaces in front, and a NUL ends a text for some of them
    text = str(value).replace("\0", "")
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
