"""``spectral``: the commands. Each imports what it needs when it runs, so that help and client commands start fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli import errors

app = typer.Typer(
    name="spectral", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Sweeps of Spectral-RNNs: start the service, submit sweeps, watch them, train one without a service.",
)  # fmt: skip

Url = Annotated[str, typer.Option("--url", envvar="SPECTRAL_URL", help="where the service is")]
Id = Annotated[str, typer.Argument(help="a sweep's id, as submit and ls print it")]
Subject = Annotated[str, typer.Argument(help="a sweep's id, or a trial's")]
File = Annotated[Path, typer.Argument(help="a sweep as a JSON file; - reads it from standard input")]
HERE = "http://127.0.0.1:8000"


def main() -> None:
    """The entry point: mistakes of the user end in a message and exit code 2, never in a traceback."""
    with errors.told():
        app()


@app.command()
def up(
    home: Annotated[Path, typer.Option(help="folder for the database, checkpoints and MLflow's files")] = Path(
        "spectral-home"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="port of the service")] = 8000,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="port of MLflow")] = 5000,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs to train on; default: all")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to train on; default: all")] = None,
) -> None:
    """Start everything on this machine: service, controller, Ray and MLflow."""
    from service import stack

    raise typer.Exit(stack.up(home=home, port=port, mlflow_port=mlflow_port, cpus=cpus, gpus=gpus))


@app.command()
def submit(
    file: File,
    watch: Annotated[bool, typer.Option("--watch", help="stay and show progress until it ends")] = False,
    key: Annotated[str | None, typer.Option(help="idempotency key: the same key is the same sweep")] = None,
    url: Url = HERE,
) -> None:
    """Submit a sweep."""
    from service.cli import commands, documents

    commands.submit(url, documents.load(file), key, watch)


@app.command()
def watch(id: Id, url: Url = HERE) -> None:
    """Show a sweep's progress until it ends; exit code 0 only where it succeeded."""
    from service.cli import commands

    commands.watch(url, id)


@app.command()
def ls(
    state: Annotated[list[str] | None, typer.Option(help="only sweeps in this state; may be repeated")] = None,
    limit: Annotated[int, typer.Option(min=1, help="how many at most")] = 20,
    url: Url = HERE,
) -> None:
    """List sweeps, the newest first."""
    from service.cli import commands

    commands.ls(url, state or [], limit)


@app.command()
def show(
    id: Id, limit: Annotated[int, typer.Option(min=1, help="how many trials at most")] = 20, url: Url = HERE
) -> None:
    """Show a sweep: its state, its best trials and where to look further."""
    from service.cli import commands

    commands.show(url, id, limit)


@app.command()
def pause(id: Id, url: Url = HERE) -> None:
    """Pause a sweep at checkpoints."""
    from service.cli import commands

    commands.steer(url, id, "pause")


@app.command()
def resume(id: Id, url: Url = HERE) -> None:
    """Go on with a paused sweep."""
    from service.cli import commands

    commands.steer(url, id, "resume")


@app.command()
def stop(id: Subject, url: Url = HERE) -> None:
    """Let running trials finish and start no more."""
    from service.cli import commands

    commands.steer(url, id, "stop")


@app.command()
def cancel(id: Subject, url: Url = HERE) -> None:
    """End a sweep or a trial now."""
    from service.cli import commands

    commands.steer(url, id, "cancel")


@app.command()
def validate(file: File, url: Url = HERE) -> None:
    """Check a sweep without submitting it."""
    from service.cli import commands, documents

    commands.validate(url, documents.load(file))


@app.command()
def train(
    file: File, out: Annotated[Path, typer.Option(help="folder for results and checkpoints; run again to go on")]
) -> None:
    """Train a whole sweep on this machine with no service."""
    from service.cli import documents, training

    training.train(documents.load(file), out)


if __name__ == "__main__":
    main()
