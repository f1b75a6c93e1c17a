"""A summary of data as aligned text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len

MAX_ROWS, MAX_COLUMNS = 20, 8
"""Classes, features and outputs that are shown; the JSON has more."""
MAX_LETTERS = 40
SETS = ("train", "validation", "test")


def text_of(summary: dict[str, Any]) -> str:
    """Return a summary of data, as the API returns it, in lines of text with aligned columns."""
    parts = [_head(summary), _sets(summary), _outputs(summary), _tokens(summary)]
    parts += [] if summary["image"] else [_features(summary), _first(summary)]
    parts += [f"warning: {_plain(summary['source'])} {one['problem']}; {one['advice']}" for one in summary["warnings"]]
    return "\n\n".join(part for part in parts if part)


def _head(summary: dict[str, Any]) -> str:
    rows = [["task", summary["task"]]]
    if summary["files"]:
        rows.append(["files", f"{', '.join(map(_plain, summary['files']))} ({summary['format']})"])
    if summary["steps"]:
        rows += [["series", _count(summary["series"])], ["steps", _steps(summary["steps"])]]
    if summary["image"]:
        rows.append(["images", "{} x {} pixels".format(*summary["image"])])
    elif summary["steps"]:
        rows.append(["features", _count(summary["feature_count"])])
    if summary["inputs"] and summary["inputs"] != (summary["steps"]["max"], summary["feature_count"]):
        rows.append(["inputs", "{:,} steps of {:,} values".format(*summary["inputs"])])
    rows.append(["targets", _targets(summary)])
    if summary["steps"]:
        rows.append(["missing", f"{_count(summary['missing'])} values"])
    return _aligned(rows, right=False)


def _steps(steps: dict[str, Any]) -> str:
    if steps["min"] == steps["max"]:
        return f"{_count(steps['min'])} in every series"
    return f"{_count(steps['min'])} to {_count(steps['max'])}, median {steps['median']:,g}"


def _targets(summary: dict[str, Any]) -> str:
    if summary["kind"] == "language":
        return "the next token at every step"
    what = f"one of {_count(summary['class_count'])} classes"
    if summary["kind"] == "regression":
        what = "a number" if len(summary["outputs"]) == 1 else f"{len(summary['outputs'])} numbers"
    without = f"; {_count(summary['without_target'])} steps have none" if summary["without_target"] else ""
    return f"{what} for each {'step' if summary['every_step'] else 'series'}{without}"


def _sets(summary: dict[str, Any]) -> str:
    """Return a table with the sizes of the sets, in all and of each class."""
    language, sizes = summary["kind"] == "language", summary["sets"]
    rows = [["set", *SETS], ["tokens" if language else "series", *(_count(sizes[name]) for name in SETS)]]
    counted = "steps of class" if summary["every_step"] else "of class"
    shown = summary["classes"][:MAX_ROWS]
    rows += [[f"{counted} {_plain(one['label'])}", *(_count(one[name]) for name in SETS)] for one in shown]
    return _aligned(rows) + _more(summary["class_count"], len(shown), "classes")


def _features(summary: dict[str, Any]) -> str:
    shown = summary["features"][:MAX_ROWS]
    rows = [
        [_plain(one["name"]), *(_number(one[name]) for name in ("min", "mean", "max")), _count(one["missing"])]
        for one in shown
    ]
    table = _aligned([["feature", "min", "mean", "max", "missing"], *rows])
    return table + _more(summary["feature_count"], len(shown), "features") if rows else ""


def _outputs(summary: dict[str, Any]) -> str:
    shown = summary["outputs"][:MAX_ROWS]
    rows = [[_plain(one["name"]), *(_number(one[name]) for name in ("min", "mean", "max"))] for one in shown]
    return _aligned([["target", "min", "mean", "max"], *rows]) if rows else ""


def _first(summary: dict[str, Any]) -> str:
    """Return the first steps of the first series, with the targets beside them if every step has one."""
    first = summary["first"]
    if first is None:
        return ""
    heads = ["step", *map(_plain, first["features"])]
    rows = [[str(number), *map(_number, step)] for number, step in enumerate(first["steps"], 1)]
    if summary["every_step"]:
        heads.append("target")
        rows = [[*row, _plain(target)] for row, target in zip(rows, first["targets"], strict=True)]
        title = "the first series begins:"
    else:
        title = f"the first series has the target {_plain(first['targets'][0])} and begins:"
    return f"{title}\n{_aligned([heads, *rows])}"


def _tokens(summary: dict[str, Any]) -> str:
    tokens = summary["tokens"]
    if tokens is None:
        return ""
    rows = [["vocabulary", f"{_count(tokens['vocabulary'])} tokens"]]
    rows.append(["unknown", f"{100 * tokens['unknown']:.2f} % of the validation tokens"])
    blank = "" if all(len(token) == 1 or token.startswith("<") for token in tokens["first"]) else " "
    rows.append(["beginning", repr(blank.join(tokens["first"]))])
    return _aligned(rows, right=False)


def _more(count: int, shown: int, what: str) -> str:
    return f"\n... and {_count(count - shown)} more {what}" if count > shown else ""


def _count(value: float | None) -> str:
    return "drawn" if value is None else f"{value:,.0f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def _plain(text: str) -> str:
    """Return text that changes nothing in a terminal: escapes in place of control characters, and cut if it is long."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return shown if len(shown) <= MAX_LETTERS else f"{shown[: MAX_LETTERS - 3]}..."


def _aligned(rows: Sequence[Sequence[str]], right: bool = True) -> str:
    """Return rows in columns of equal width; the first column begins at the left, the others end at the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        cells = [
            f"{gap}{cell}" if i and right else f"{cell}{gap}"
            for i, (cell, gap) in enumerate(zip(row, gaps, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
