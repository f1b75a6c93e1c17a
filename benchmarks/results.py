"""Rows of a benchmark: a table on the terminal, JSON under build/, a section of docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("id", "shape", "ours", "peer", "ratio", "target", "met", "method")


WIDTH = 160
"""Characters that the table needs."""


@dataclass(frozen=True)
class Row:
    """One figure. ``ours`` and ``peer`` are in the unit that ``method`` names; ``met`` is None without a target."""

    id: str
    shape: str
    ours: float | None
    peer: float | None
    ratio: float | None
    target: str
    met: bool | None
    method: str


def row(
    id: str, shape: str, ours: float | None, peer: float | None, ratio: float | None, method: str,
    *, at_most: float | None = None, at_least: float | None = None,
) -> Row:  # fmt: skip
    """A row whose ``ratio`` is held to a bound. No ratio: not measured, target not met."""
    if at_most is not None:
        return Row(id, shape, ours, peer, ratio, f"<= {at_most:g}", ratio is not None and ratio <= at_most, method)
    if at_least is not None:
        return Row(id, shape, ours, peer, ratio, f">= {at_least:g}", ratio is not None and ratio >= at_least, method)
    return Row(id, shape, ours, peer, ratio, "", None, method)


def shape(**sizes: int | str) -> str:
    return " ".join(f"{name}={value}" for name, value in sizes.items())


def show(rows: Sequence[Row], header: Mapping[str, str] | None = None) -> None:
    """On the terminal, with rich where it is installed."""
    for name, value in (header or {}).items():
        print(f"{name}: {value}")
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for line in rows:
            print("  ".join(_cells(line)))
        return
    console = Console(highlight=False)
    console.width = max(console.width, WIDTH)
    table = Table(header_style="bold", box=None)
    for name in COLUMNS:
        right = name in ("ours", "peer", "ratio", "target")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "method")
    for line in rows:
        table.add_row(*_cells(line), style={True: "green", False: "red", None: ""}[line.met])
    console.print(table)


def save(rows: Iterable[Row], header: Mapping[str, str], path: Path, *, keep_others: bool = True) -> list[Row]:
    """Write the rows as a JSON list, and the header beside them; rows of other ids stay. Returns all."""
    own = list(rows)
    ids = {line.id for line in own}
    before = load(path) if keep_others and path.exists() else []
    together = sorted([line for line in before if line.id not in ids] + own, key=lambda line: line.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(line) for line in together], indent=1) + "\n")
    _header(path).write_text(json.dumps(dict(header), indent=1) + "\n")
    return together


def load(path: Path) -> list[Row]:
    return [Row(**document) for document in json.loads(path.read_text())]


def load_header(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(_header(path).read_text()) if _header(path).exists() else {}
    return found


def write_section(document: Path, name: str, path: Path, note: str = "") -> None:
    """Replace what stands between the marks of section ``name`` by the header and the rows saved at ``path``."""
    text = document.read_text()
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{document} has no section {begin} ... {end}")
    head, rest = text.split(begin, 1)
    tail = rest.split(end, 1)[1]
    body = "\n".join(filter(None, [_header_lines(load_header(path)), note, _markdown(load(path))]))
    document.write_text(f"{head}{begin}\n\n{body}\n\n{end}{tail}")


def _header(path: Path) -> Path:
    return path.with_name(f"{path.stem}-machine.json")


def _header_lines(header: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in header.items()) + "\n"


def _markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(line)) + " |" for line in rows]
    return "\n".join(lines)


def _cells(line: Row) -> list[str]:
    met = {True: "yes", False: "no", None: ""}[line.met]
    numbers = [_number(line.ours), _number(line.peer), _number(line.ratio)]
    return [line.id, line.shape, *numbers, line.target, met, line.method]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
