"""The commands that say what a sweep can be made of, and make one to begin with."""

from __future__ import annotations

import json
import webbrowser
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli import ids, tables
from service.cli.errors import UserError
from service.cli.options import HERE, JsonOption, TokenFileOption, UrlOption, connect, console

EXAMPLES = resources.files("service") / "examples"
"""The example documents, which are installed with the program."""


def tasks(
    name: Annotated[str | None, typer.Argument(help="A task, to list its fields.")] = None, as_json: JsonOption = False
) -> None:
    """List the tasks that networks can be trained on, or the fields of one. Needs no service."""
    from workers.tasks import TASKS

    if name is None:
        rows = {task: kind.summary for task, kind in TASKS.items()}
        _print(as_json, rows, tables.definitions("task", rows))
        if not as_json:
            console.print("Fields of a task: spectral tasks NAME   a document to begin with: spectral init NAME")
        return
    task = _known(name)
    schema = TASKS[task].model_json_schema()
    fields = {
        f"task.{field}": _described(about, required=field in schema.get("required", ()))
        for field, about in schema["properties"].items()
        if field not in ("name", "facts")
    }
    metrics = {f"val/{metric}": direction for metric, direction in TASKS[task].metrics.items()}
    if as_json:
        console.print_json(json.dumps({"name": task, "metrics": metrics, "json_schema": schema}))
        return
    console.print(f"[bold]{task}[/]: {tables.plain(TASKS[task].summary)}", soft_wrap=True)
    console.print(tables.definitions("field", fields))
    console.print(tables.definitions("metric", metrics))


def samplers(as_json: JsonOption = False) -> None:
    """List the samplers, which choose the trials of a sweep, with when to use each. Needs no service."""
    from workers.spec.samplers import SAMPLERS

    rows = {name: f"{sampler.summary}. Use it when {sampler.use_when}." for name, sampler in SAMPLERS.items()}
    _print(as_json, rows, tables.definitions("search.sampler", rows))


def init(
    task: Annotated[str, typer.Argument(help="A task, as spectral tasks lists them.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write, which must not exist; by default standard output.")
    ] = None,
) -> None:
    """Write a sweep over a task to begin with: edit it, and submit it. Needs no service."""
    text = (EXAMPLES / EXAMPLE_OF[_known(task)]).read_text()
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        with out.open("x") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{out} exists; give another --out") from None
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from None
    console.print(
        f"Wrote {out}. Check it with: spectral validate {out}   submit it with: spectral submit {out}", soft_wrap=True
    )


def open_page(
    id: Annotated[str | None, typer.Argument(help="A sweep or a trial; by default the list of sweeps.")] = None,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Open the service's page in the browser, and print its address."""
    with connect(url, token_file) as client:
        address = client.base_url
        if id is not None:
            found = ids.sweep_or_trial(client, id)
            address += f"/#/{'trials' if '-' in found else 'sweeps'}/{found}"
        else:
            next(iter(client.sweeps(limit=1)), None)  # says in one sentence if no service is there
    console.print(address, soft_wrap=True)
    webbrowser.open(address)


EXAMPLE_OF = {
    "adding": "adding.json",
    "copy": "copy.json",
    "digits": "digits.json",
    "mnist": "mnist-rows.json",
    "images": "images.json",
    "ptb_char": "ptb-char.json",
    "ptb_word": "ptb-word.json",
    "text": "text.json",
    "own_data": "own-data.json",
    "ucr": "ucr.json",
}
"""The example document of each task."""


def _known(name: str) -> str:
    from workers.tasks import TASKS
    from workers.wording import one_of

    if name in TASKS:
        return name
    raise UserError(f"there is no task {name!r}; {one_of(name, TASKS)}")


def _described(about: dict[str, Any], *, required: bool) -> str:
    """Return the description of a field, with its default or that it is required."""
    default = "required" if required else f"default: {json.dumps(about.get('default'))}"
    return f"{about.get('description', '')} ({default})"


def _print(as_json: bool, document: Any, table: Any) -> None:
    if as_json:
        console.print_json(json.dumps(document))
    else:
        console.print(table)
