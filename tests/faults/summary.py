"""The table of a run: by fault the injections, what was lost, doubled, stuck or wrong, and how long recovery took."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.harness import Verdict
from tests.faults.oracle import Kind

KINDS: tuple[Kind, ...] = ("lost", "doubled", "stuck", "wrong")
HEAD = ("fault", "injections", "missed", *KINDS, "recovery median s", "recovery max s")


def rows(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """Return a row for each fault or pair of faults, in the order of their names, and one for all of them."""
    found: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault(" + ".join(verdict.schedule.faults), []).append(verdict)
    table = [_row(name, found[name]) for name in sorted(found)]
    return [*table, _row("all", verdicts)]


def _row(name: str, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    kinds = Counter(violation.kind for verdict in verdicts for violation in verdict.violations)
    recoveries = [verdict.recovery for verdict in verdicts if verdict.recovery is not None]
    return {
        "fault": name,
        "injections": sum(not verdict.missed for verdict in verdicts),
        "missed": sum(verdict.missed for verdict in verdicts),
        **{kind: kinds[kind] for kind in KINDS},
        "recovery median s": round(statistics.median(recoveries), 1) if recoveries else None,
        "recovery max s": round(max(recoveries), 1) if recoveries else None,
    }


def as_text(table: Sequence[dict[str, Any]]) -> str:
    """Return the table in Markdown."""
    lines = [[str("-" if row[column] is None else row[column]) for column in HEAD] for row in table]
    widths = [max(len(column), *(len(line[i]) for line in lines)) for i, column in enumerate(HEAD)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (list(HEAD), rule, *lines)
    )


def write(verdicts: Sequence[Verdict], folder: Path) -> str:
    """Write ``table.md`` and ``verdicts.json`` into a folder, and return the table."""
    folder.mkdir(parents=True, exist_ok=True)
    text = as_text(rows(verdicts))
    (folder / "table.md").write_text(f"{text}\n")
    found = [
        {
            **verdict.schedule.as_json(),
            "database": verdict.kind,
            "violations": [f"{violation.kind}: {violation.text}" for violation in verdict.violations],
            "recovery": verdict.recovery,
            "missed": verdict.missed,
            "seconds": round(verdict.seconds, 1),
        }
        for verdict in verdicts
    ]
    (folder / "verdicts.json").write_text(json.dumps(found, indent=1))
    return text
