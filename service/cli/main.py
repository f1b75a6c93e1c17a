"""The command ``spectral``.

The commands that talk to a service are in ``commands``. Those below work on this machine; each imports what it needs
when it runs, so that help and the others start fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.cli import (
    audit,
    catalogue_commands,
    commands,
    data,
    errors,
    export,
    point_commands,
    replay_commands,
    report,
    token,
    trial_commands,
)
from service.cli.commands import FileArgument, SetOption
from spectral_rnn_service import installed_version

app = typer.Typer(
    name="spectral",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train sweeps of Spectral-RNNs: start the service, submit sweeps and watch them, or train without a service.",
    epilog="Begin with spectral up --open. Then run in a second terminal: spectral init digits --out sweep.json, and "
    "spectral submit sweep.json --watch. The running service shows its manual below /manual/.",
)

HomeOption = Annotated[Path, typer.Option(help="Folder for the database, the checkpoints and MLflow's files.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of the API and the web page.")]
MlflowPortOption = Annotated[int, typer.Option(min=1, max=65535, help="Port of MLflow.")]
FreePortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 picks a free one.")]
FreeMlflowPortOption = Annotated[int, typer.Option(min=0, max=65535, help="Port of MLflow; 0 picks a free one.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit the process with the command's exit code.

    A mistake of the user, a refusal by the service or a missing package ends in a message on standard error and exit
    code 2, a sweep or trial that is not there in exit code 4, and no service at the address in exit code 5. Any other
    exception is a defect and shows its traceback.

    Args:
        arguments: The command and its arguments, without the program's name; by default those of this process.
    """
    with errors.reported():
        app(args=arguments, prog_name="spectral")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spectral {installed_version()}")
        raise typer.Exit


@app.callback()
def _spectral(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def up(
    home: HomeOption = Path("spectral-home"),
    port: PortOption = 8000,
    mlflow_port: MlflowPortOption = 5000,
    cpus: Annotated[int | None, typer.Option(min=1, help="CPUs to train on; by default all of this machine.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to train on; by default all of this machine.")] = None,
    auth: Annotated[
        Literal["auto", "tokens", "none"],
        typer.Option(envvar="SPECTRAL_AUTH", help="Whether users show a token; auto: not on this machine."),
    ] = "auto",
    workers: Annotated[
        int, typer.Option(min=1, max=64, envvar="SPECTRAL_API_WORKERS", help="Processes that serve the API.")
    ] = 1,
    show_page: Annotated[bool, typer.Option("--open", help="Open the web page in the browser once it is up.")] = False,
) -> None:
    """Start the API, the controller, Ray and MLflow on this machine, and run them until Ctrl-C.

    The exit code is 1 if a part did not get ready, 2 if something has to be changed, 3 if a service runs in the folder.
    """
    from service import stack

    code = stack.up(
        home=home,
        port=port,
        mlflow_port=mlflow_port,
        cpus=cpus,
        gpus=gpus,
        auth=auth,
        workers=workers,
        show_page=show_page,
    )
    raise typer.Exit(code)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the service's files and the plots.")] = Path("build/demo"),
    sweep: Annotated[
        Path | None, typer.Option(help="JSON file of another sweep; its objective is an accuracy.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the service running until Ctrl-C.")] = False,
    port: FreePortOption = 0,
    mlflow_port: FreeMlflowPortOption = 0,
) -> None:
    """Start the service with Ray and MLflow, run a real sweep on handwritten digits, show its result and stop again.

    The exit code is 0 if the sweep succeeded and its best trial's validation accuracy is above 90 %, 1 if not.
    """
    from service import demo as demonstration
    from service.cli import documents

    document = documents.load(sweep or demonstration.SWEEP)
    raise typer.Exit(demonstration.run(document, out, keep=keep, port=port, mlflow_port=mlflow_port))


for command in commands.COMMANDS:
    app.command()(command)
for of_trial in trial_commands.COMMANDS:
    app.command()(of_trial)
app.command()(point_commands.compare)
app.command()(replay_commands.replay)
app.command()(replay_commands.diff)
app.command()(catalogue_commands.tasks)
app.command()(catalogue_commands.samplers)
app.command()(catalogue_commands.init)
app.command("open")(catalogue_commands.open_page)
app.add_typer(data.app, name="data")
app.add_typer(token.app, name="token")
app.command()(audit.audit)
app.command()(export.export)
app.command()(report.report)


@app.command()
def train(
    file: FileArgument,
    out: Annotated[Path, typer.Option(help="Folder for results and checkpoints; a repeated call continues there.")],
    settings: SetOption = None,
) -> None:
    """Train every trial of a sweep on this machine without a service. The exit code is 1 if a trial failed."""
    from service.cli import documents, training

    training.train(documents.load(file, settings), out)


@app.command()
def show_task(
    name: Annotated[str, typer.Argument(help='A task, or one with its fields: \'{"name": "copy", "length": 50}\'')],
    out: Annotated[Path, typer.Option(help="File to write: .png, .svg or .pdf.")],
    sample: Annotated[int, typer.Option(min=0, help="Number of the sequence in the set, from 0.")] = 0,
    split: Annotated[Literal["validation", "test"], typer.Option(help="The set to draw from.")] = "validation",
    data_dir: Annotated[
        Path | None, typer.Option(envvar="SPECTRAL_DATA_DIR", help="Folder of the tasks' data.")
    ] = None,
) -> None:
    """Draw one sequence of a task to a picture: its inputs over time and its target."""
    from workers.tasks.pictures.__main__ import main as draw

    folder = [] if data_dir is None else ["--data-dir", str(data_dir)]
    raise typer.Exit(draw([name, "--out", str(out), "--sample", str(sample), "--split", split, *folder]))


if __name__ == "__main__":
    main()
