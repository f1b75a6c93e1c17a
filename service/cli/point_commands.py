"""The command that compares points of a sweep with repeats."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from service.cli import ids, point_tables, tables
from service.cli.commands import SweepArgument
from service.cli.options import HERE, JsonOption, TokenFileOption, UrlOption, connect, console


def compare(
    id: SweepArgument,
    points: Annotated[list[int], typer.Argument(help="The numbers of two points or more, as show prints them.")],
    as_json: JsonOption = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Compare points of a sweep with repeats: say which is better, or that they are not told apart.

    Trials of equal seeds are compared in pairs. With several points the intervals are wider, so that all of them hold
    together.
    """
    with connect(url, token_file) as client:
        found = client.compare(ids.sweep(client, id), points)
    if as_json:
        console.print_json(json.dumps(found))
        return
    metric = found["objective"]["metric"]
    for point in found["points"]:
        console.print(f"point {point['number']}: {tables.plain(tables.params(point))}", soft_wrap=True)
    for pair in found["comparisons"]:
        console.print(tables.plain(point_tables.comparison(pair, metric, found["confidence"])), soft_wrap=True)
