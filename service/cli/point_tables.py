"""Text and tables about the points of sweeps with repeats, made from what the API returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from service.cli.tables import params, plain


def statistic_of(sweep: dict[str, Any]) -> str:
    """Return what the objective of a point of a sweep is, of those of its trials."""
    return str(sweep["spec"].get("objective", {}).get("statistic", "mean"))


def is_repeated(sweep: dict[str, Any]) -> bool:
    """Return whether the points of a sweep have several trials."""
    return bool(sweep["spec"].get("repeats", 1) > 1)


def points(rows: Sequence[dict[str, Any]], metric: str, statistic: str = "mean") -> Table:
    """Return a table with the objective of each point, and the spread of its repeats.

    Args:
        rows: The points.
        metric: The name of the sweep's objective, for the heading of its column.
        statistic: What the objective of a point is, of those of its trials.
    """
    columns = ("point", f"{statistic} {metric}", "n", "sd", "95 % interval of the mean", "parameters")
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        values = ["" if row[name] is None else f"{row[name]:.6g}" for name in ("objective", "sd")]
        interval = "" if row["interval"] is None else "{:.6g} to {:.6g}".format(*row["interval"])
        text = params(row) + (f"  ({row['reason']})" if row["reason"] else "")
        table.add_row(str(row["number"]), values[0], str(row["n"]), values[1], interval, plain(text))
    return table


def comparison(pair: dict[str, Any], metric: str, confidence: float) -> str:
    """Return what the comparison of two points says, in one line.

    Args:
        pair: One of the ``comparisons`` of the API.
        metric: The name of the sweep's objective.
        confidence: The confidence of the intervals.
    """
    first, second, verdict = f"point {pair['first']}", f"point {pair['second']}", pair["verdict"]
    said = f"{first} is {verdict} than {second}"
    if verdict == "not told apart":
        said = f"{first} and {second} are not told apart"
    found = [] if pair["difference"] is None else [f"difference of {metric} {pair['difference']:+.4g}"]
    if pair["interval"]:
        low, high = pair["interval"]
        found.append(f"{confidence:.0%} interval {low:+.4g} to {high:+.4g}")
    found.append(f"{pair['n']} seeds")
    return f"{said}: {', '.join(found)}" + (f" ({pair['reason']})" if pair["reason"] else "")


def amount(sweep: dict[str, Any], count: int) -> str:
    """Return a number of trials in words: ``9 trials``, or ``12 points x 5 seeds = 60 trials`` with repeats.

    Args:
        sweep: A document that may say how many ``repeats`` each point has.
        count: The number of trials.
    """
    repeats = sweep.get("repeats", 1)
    trials = f"{count} trial" + ("" if count == 1 else "s")
    if repeats == 1:
        return trials
    settings = count // repeats
    return f"{settings} point{'' if settings == 1 else 's'} x {repeats} seeds = {trials}"
