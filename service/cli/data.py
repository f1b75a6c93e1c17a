"""``spectral data``: look at data files before anything is trained on them. No service is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Look at data files before anything is trained on them.")


@app.callback()
def _data() -> None:
    pass


@app.command()
def check(
    path: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A data file, or the folder of a set of images or of the UCR archive."),
    ],
    task: Annotated[str | None, typer.Option(help="Fields of the task, as JSON; FILE is filled in.")] = None,
    kind: Annotated[
        Literal["classification", "regression"] | None, typer.Option(help="Whether targets are classes or numbers.")
    ] = None,
    every_step: Annotated[bool, typer.Option("--every-step", help="Every step has a target.")] = False,
    targets: Annotated[str | None, typer.Option(metavar="A,B", help="Columns with the targets.")] = None,
    inputs: Annotated[
        str | None, typer.Option(metavar="A,B", help="Columns that are read; by default all others.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Column that names the series of a row.")] = None,
    step: Annotated[str | None, typer.Option(help="Column of steps or times.")] = None,
    uneven: Annotated[bool, typer.Option("--uneven", help="Times between steps may differ.")] = False,
    missing: Annotated[
        Literal["refuse", "interpolate"] | None, typer.Option(help="What happens to missing values.")
    ] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Each series is scaled.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a task would read from a file: series, features, classes, sets, the first steps, and warnings.

    The task follows from the name of the file; the options are its fields. The exit code is 1 if the data is refused.
    """
    fields = _fields(task)
    given = {
        "kind": kind,
        "every_step": every_step or None,
        "targets": targets and targets.split(","),
        "inputs": inputs and inputs.split(","),
        "series": series,
        "step": step,
        "uneven": uneven or None,
        "missing": missing,
        "normalize": normalize or None,
    }
    fields |= {name: value for name, value in given.items() if value is not None}
    from workers.errors import DataMissing

    try:
        summary = _summary(path, fields)
    except DataMissing as refused:
        typer.echo(str(refused), err=True)
        raise typer.Exit(1) from None
    if as_json:
        typer.echo(summary.model_dump_json(indent=1))
    else:
        from service.cli.data_text import text_of

        typer.echo(text_of(summary.model_dump()))


def _fields(text: str | None) -> dict[str, Any]:
    """Return the fields of a task that are given as JSON. Raises UserError if they are not a JSON object."""
    if text is None:
        return {}
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise UserError(f'--task is not a JSON object: {text}. Write it like --task \'{{"kind": "regression"}}\'')
    return fields


def _summary(path: Path, fields: dict[str, Any]) -> Any:
    """Read the data and return a ``DataSummary``.

    Raises:
        DataMissing: The data is refused.
        UserError: The fields are not those of a task.
    """
    from pydantic import ValidationError

    from workers.spec.field_errors import field_errors
    from workers.spec.sweep import SweepSpec
    from workers.tasks.recognise import recognise
    from workers.tasks.summarise import summarise

    found, data_dir = recognise(path, fields)
    try:
        sweep = SweepSpec.model_validate({"task": found, "space": {"training.seed": [0]}})
    except ValidationError as error:
        raise UserError("Invalid task", [wrong.as_dict() for wrong in field_errors(error)]) from None
    return summarise(sweep.task, data_dir)
