"""Text and tables about the points of sweeps with repeats, made from what the API returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from service.cli.fitted_table import FittedColumn, FittedTable
from service.cli.tables import counted, params_and_reason, trials


def statistic_of(sweep: dict[str, Any]) -> str:
    """Return what the objective of a point of a sweep is, of those of its trials."""
    return str(sweep["spec"].get("objective", {}).get("statistic", "mean"))


def is_repeated(sweep: dict[str, Any]) -> bool:
    """Return whether the points of a sweep have several trials."""
    return bool(sweep["spec"].get("repeats", 1) > 1)


def points(rows: Sequence[dict[str, Any]], metric: str, statistic: str = "mean") -> FittedTable:
    """Return a table with the objective of each point, and the spread of its repeats.

    Args:
        rows: The points.
        metric: The name of the sweep's objective, for the heading of its column.
        statistic: What the objective of a point is, of those of its trials.
    """
    objectives, sds = (
        ["" if row[name] is None else f"{row[name]:.6g}" for row in rows] for name in ("objective", "sd")
    )
    intervals = ["" if row["interval"] is None else "{:.6g} to {:.6g}".format(*row["interval"]) for row in rows]
    return FittedTable(
        [
            FittedColumn("point", [str(row["number"]) for row in rows], 0),
            FittedColumn(f"{statistic} {metric}", objectives, 1),
            FittedColumn("n", [str(row["n"]) for row in rows], 4),
            FittedColumn("sd", sds, 3),
            FittedColumn("95 % interval of the mean", intervals, 5),
            FittedColumn("parameters", [params_and_reason(row) for row in rows], 2, least=14, wraps=True),
        ]
    )


def print_leaders(
    console: Console, sweep: dict[str, Any], points_of: Sequence[dict[str, Any]], trials_of: Sequence[dict[str, Any]]
) -> None:
    """Print the best points of a sweep, if it has repeats, and its best trials; nothing where there are none.

    Args:
        console: Where to print.
        sweep: The sweep.
        points_of: Its best points, the best first.
        trials_of: Its best trials, the best first.
    """
    metric = sweep["objective"]["metric"]
    if points_of:
        console.print(points(points_of, metric, statistic_of(sweep)))
    if trials_of:
        console.print(trials(trials_of, metric))


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
    if repeats == 1:
        return counted(count, "trial")
    return f"{counted(count // repeats, 'point')} x {repeats} seeds = {counted(count, 'trial')}"
