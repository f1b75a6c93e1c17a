"""Results of benchmarks: a table on the terminal, JSON under build/, and a section of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

COLUMNS = ("id", "shape", "ours", "peer", "ratio", "target", "met", "method")


WIDTH = 160
"""Width of the table on the terminal, in characters."""


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
        id: Name of the benchmark.
        shape: The sizes, in words.
        ours: Our result, in the unit that ``method`` names.
        peer: The peer's result in the same unit.
        ratio: The ratio of both, in the direction that ``method`` says.
        target: The bound on the ratio, in words.
        met: Whether the ratio meets the bound; None without a bound.
        method: What was measured.
    """

    id: str
    shape: str
    ours: float | None
    peer: float | None
    ratio: float | None
    target: str
    met: bool | None
    method: str


def row(
    id: str,
    shape: str,
    ours: float | None,
    peer: float | None,
    ratio: float | None,
    method: str,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
) -> Row:
    """Return a row, whose ``ratio`` may have a bound. A ratio of None was not measured and does not meet a bound."""
    if at_most is not None:
        return Row(id, shape, ours, peer, ratio, f"<= {at_most:g}", ratio is not None and ratio <= at_most, method)
    if at_least is not None:
        return Row(id, shape, ours, peer, ratio, f">= {at_least:g}", ratio is not None and ratio >= at_least, method)
    return Row(id, shape, ours, peer, ratio, "", None, method)


def shape(**sizes: int | str) -> str:
    """Return sizes in words, such as ``n=128 T=784``."""
    return " ".join(f"{name}={value}" for name, value in sizes.items())


def show(rows: Sequence[Row], header: Mapping[str, str] | None = None) -> None:
    """Print the rows as a table, with rich if it is installed."""
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
    """Write rows as a JSON list, and the header to a second file next to it.

    Args:
        rows: The rows.
        header: Description of the machine.
        path: File of the rows.
        keep_others: Keep the rows in the file that belong to other benchmarks.

    Returns:
        All rows in the file.
    """
    own = list(rows)
    ids = {line.id for line in own}
    before = load(path) if keep_others and path.exists() else []
    together = sorted([line for line in before if line.id not in ids] + own, key=lambda line: line.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(line) for line in together], indent=1) + "\n")
    _header(path).write_text(json.dumps(dict(header), indent=1) + "\n")
    return together


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``publish`` reads, beside ``--quick``."""
    parser.add_argument("--out", type=Path, default=Path("build"), help="folder of the results")
    parser.add_argument("--write", type=Path, help="put the results into this document")


def publish(rows: Sequence[Row], header: Mapping[str, str], options: argparse.Namespace, name: str) -> None:
    """Save the only rows of a benchmark, show them, and put those of a full run into the document that was named.

    Args:
        rows: The rows.
        header: Description of the machine.
        options: ``out``, ``quick`` and ``write``, as the command line gives them.
        name: The name of the file, without its ending, and of the section of the document.
    """
    path = options.out / f"{name}{'-quick' if options.quick else ''}.json"
    save(rows, header, path, keep_others=False)
    show(rows, header)
    if options.write and not options.quick:
        write_section(options.write, name, path)


def load(path: Path) -> list[Row]:
    """Read rows from a file."""
    return [Row(**document) for document in json.loads(path.read_text())]


def load_header(path: Path) -> dict[str, str]:
    """Read the description of the machine next to a file of rows; it is empty if there is none."""
    found: dict[str, str] = json.loads(_header(path).read_text()) if _header(path).exists() else {}
    return found


def write_section(document: Path, name: str, path: Path, note: str = "", others: Sequence[Path] = ()) -> None:
    """Replace the section ``name`` of a document, between its marks, by the header and the rows saved at ``path``.

    Rows in the files ``others`` follow, as far as these exist; their headers are not shown.
    """
    text = document.read_text()
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{document} has no section {begin} ... {end}")
    head, rest = text.split(begin, 1)
    tail = rest.split(end, 1)[1]
    rows = [line for file in (path, *others) if file.exists() for line in load(file)]
    body = "\n".join(filter(None, [_header_lines(load_header(path)), note, _markdown(rows)]))
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
