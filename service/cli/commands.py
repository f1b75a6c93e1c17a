"""The commands that talk to a service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.cli import documents, ids, point_tables, tables, watching
from service.cli.errors import UserError
from service.cli.options import FOLLOW_PATIENCE_SECONDS, HERE, JsonOption, TokenFileOption, UrlOption, connect, console

SweepArgument = Annotated[str, typer.Argument(help="The id of a sweep, its beginning, or last.")]
SweepOrTrialArgument = Annotated[str, typer.Argument(help="A sweep, or a trial such as last-7.")]
FileArgument = Annotated[Path, typer.Argument(help="A sweep in JSON, YAML or TOML; - reads JSON from standard input.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a value of the document, as in training.lr=0.01; may be repeated."),
]


def submit(
    file: FileArgument,
    settings: SetOption = None,
    follow: Annotated[bool, typer.Option("--watch", help="Then do what watch does.")] = False,
    key: Annotated[
        str | None,
        typer.Option(help="Key of this submission: the same file with the same key again returns the existing sweep."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Submit nothing: print how long the sweep would take, from a few seconds of training."
        ),
    ] = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Submit a sweep, print its id and return at once."""
    if dry_run:
        _print_dry_run(file, settings, url, token_file, calibrate=True)
        return
    document = documents.load(file, settings)
    with connect(url, token_file) as client:
        sweep = client.submit(document, key)
    tables.print_warnings(console, sweep["warnings"])
    amount = point_tables.amount(sweep["spec"], sweep["trials"]["total"])
    console.print(f"{sweep['id']}  {amount}, {sweep['state']}")
    page = f"{client.base_url}/#{sweep['id']}"
    console.print(f"Follow it with: spectral watch {sweep['id']}   or open {page}", soft_wrap=True)
    if follow:
        watch(sweep["id"], url, token_file)


def watch(id: SweepArgument, url: UrlOption = HERE, token_file: TokenFileOption = None) -> None:
    """Show a sweep's progress until it has ended, then its best trials. The exit code is 0 if it succeeded, else 1."""
    with connect(url, token_file) as client:
        id = ids.sweep(client, id)
        sweep = client.sweep(id)
        client.patience = FOLLOW_PATIENCE_SECONDS
        sweep = watching.follow(client, sweep, console)
        tables.print_sweep(console, sweep, client.base_url)
        report = client.report(id)
    point_tables.print_leaders(console, sweep, report.get("points", []), report["leaderboard"])
    tables.print_warnings(console, [one for one in report.get("warnings", []) if one not in sweep["warnings"]])
    if sweep["state"] != "succeeded":
        raise typer.Exit(1)


def ls(
    state: Annotated[list[str] | None, typer.Option(help="Only sweeps in this state, or in any of several.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only sweeps that have this tag, or all of several.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="List the sweeps that are archived instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The most sweeps to list.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """List sweeps in order of submission, newest first. Sweeps that are archived are left out unless asked for."""
    with connect(url, token_file) as client:
        rows = list(client.sweeps(state or [], limit, tag=tag or [], archived=archived))
    if as_json:
        console.print_json(json.dumps(rows))
    elif rows:
        console.print(tables.sweeps(rows))
    elif state or tag or archived:
        words = [f"in state {' or '.join(state)}"] if state else []
        words += [f"with {'the tag' if len(tag) == 1 else 'the tags'} {' and '.join(tag)}"] if tag else []
        console.print(
            " ".join(["There are no", *(["archived"] if archived else []), "sweeps", *words]) + ".", markup=False
        )
    else:
        none = "There are no sweeps yet, or all of them are archived (--archived lists those)."
        console.print(f"{none} Submit one with: spectral submit FILE", soft_wrap=True)


def show(
    id: SweepArgument,
    limit: Annotated[int, typer.Option(min=1, help="The most trials to show.")] = 20,
    as_json: JsonOption = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Show a sweep: its warnings, its state, its trials, best first, and the addresses of its pages.

    Of a sweep with repeats, its points come first, with the spread of the repeats of each.
    """
    with connect(url, token_file) as client:
        id = ids.sweep(client, id)
        sweep = client.sweep(id)
        rows = list(client.trials(id, "objective", limit=limit))
        points = list(client.points(id, limit)) if point_tables.is_repeated(sweep) else []
    if as_json:
        console.print_json(json.dumps({**sweep, "leaderboard": rows, "points": points}))
        return
    tables.print_sweep(console, sweep, client.base_url)
    point_tables.print_leaders(console, sweep, points, rows)


def pause(id: SweepArgument, url: UrlOption = HERE, token_file: TokenFileOption = None) -> None:
    """Pause a sweep: running trials write a checkpoint and wait for resume."""
    _steer(id, url, token_file, "pause")


def resume(id: SweepArgument, url: UrlOption = HERE, token_file: TokenFileOption = None) -> None:
    """Continue a paused sweep: its trials go on from their checkpoints."""
    _steer(id, url, token_file, "resume")


def stop(id: SweepOrTrialArgument, url: UrlOption = HERE, token_file: TokenFileOption = None) -> None:
    """Let a sweep's running trials finish and start no others, or end one trial, which keeps its checkpoints."""
    _steer(id, url, token_file, "stop")


def cancel(id: SweepOrTrialArgument, url: UrlOption = HERE, token_file: TokenFileOption = None) -> None:
    """End a sweep with all of its trials, or one trial, without a new checkpoint."""
    _steer(id, url, token_file, "cancel")


def change(
    id: SweepArgument,
    priority: Annotated[
        int | None, typer.Option(help="From -100 to 100; sweeps of a higher priority are trained first.")
    ] = None,
    max_parallel: Annotated[
        str | None,
        typer.Option(metavar="N|none", help="How many trials run at the same time; none: as many as fit."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Give it this tag; may be repeated.")] = None,
    untag: Annotated[list[str] | None, typer.Option(help="Take this tag from it; may be repeated.")] = None,
    archive: Annotated[
        bool | None, typer.Option("--archive/--unarchive", help="Leave it out of lists, or list it again.")
    ] = None,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Change the tags of a sweep, archive it, or change its place in the queue.

    Only a sweep that has ended is archived; it keeps everything. Priority and parallel trials are changed while it has
    not ended: trials that run go on, and a higher priority may have packs of lower ones pause at a checkpoint.
    """
    changes: dict[str, int | bool | list[str] | None] = {} if priority is None else {"priority": priority}
    if max_parallel is not None:
        changes["max_parallel"] = (
            None if max_parallel == "none" else documents.whole_number("--max-parallel", max_parallel)
        )
    if archive is not None:
        changes["archived"] = archive
    changes |= {name: given for name, given in (("add_tags", tag), ("remove_tags", untag)) if given}
    if not changes:
        raise UserError("change needs --priority, --max-parallel, --tag, --untag, --archive or --unarchive")
    with connect(url, token_file) as client:
        sweep = client.change(ids.sweep(client, id), **changes)
    queue = tables.queue_facts(sweep) if "priority" in changes or "max_parallel" in changes else ""
    facts = "; ".join(fact for fact in (tables.list_facts(sweep), queue) if fact)
    console.print(f"{sweep['id']} is {sweep['state']}" + (f": {facts}" if facts else ""), markup=False)


def rerun(id: SweepOrTrialArgument, url: UrlOption = HERE, token_file: TokenFileOption = None) -> None:
    """Run the failed trials of a sweep again, or one failed trial. A sweep that has ended is running again."""
    with connect(url, token_file) as client:
        id = ids.sweep_or_trial(client, id)
        subject = client.rerun(id)
    if "trials" in subject:
        console.print(f"{id} is {subject['state']}, {tables.counted(subject['trials']['waiting'], 'trial')} to run")
    else:
        console.print(f"{id} is {subject['state']}")


def extend(
    id: SweepOrTrialArgument,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials to add, with repeats points, for samplers that take a number.")
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(help="New values of a grid's dimension, as in model.margin=0.3,0.5; may be repeated."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="The steps that a trial is to have, with those that it has done.")
    ] = None,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Give a sweep further trials, or a trial that has succeeded more steps. No trial is trained twice.

    Trials that exist keep their numbers and results. With repeats all trials of a point get more steps.
    """
    if (trials is not None) + bool(values) + (steps is not None) != 1:
        raise UserError("extend needs either --trials or --values for a sweep, or --steps for a trial")
    with connect(url, token_file) as client:
        if steps is not None:
            id = ids.trial(client, id)
            shown = client.extend(id, steps=steps)
            console.print(f"{id} is {shown['state']}: it goes on from step {shown['step']} to {steps}")
            return
        id = ids.sweep(client, id)
        sweep = client.extend(id, trials, documents.new_values(values) if values else None)
    tables.print_warnings(console, sweep["warnings"])
    total, waiting = point_tables.amount(sweep["spec"], sweep["trials"]["total"]), sweep["trials"]["waiting"]
    console.print(f"{id} is {sweep['state']}: {total}, of which {waiting} wait")


def rm(
    sweep_ids: Annotated[
        list[str], typer.Argument(metavar="IDS...", help="The ids of sweeps that have ended, or their beginnings.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
    url: UrlOption = HERE,
    token_file: TokenFileOption = None,
) -> None:
    """Delete sweeps that have ended, with their trials, checkpoints and runs in MLflow. This cannot be undone.

    Models that are in MLflow's model registry stay.
    """
    with connect(url, token_file) as client:
        found = [client.sweep(ids.sweep(client, given)) for given in sweep_ids]
        if not yes:
            named = ", ".join(f"{sweep['id']} ({sweep['name']})" for sweep in found)
            typer.confirm(f"Delete {named} with all results?", abort=True)
        for sweep in found:
            client.delete(sweep["id"])
            console.print(f"{sweep['id']} is deleted")


def validate(
    file: FileArgument, settings: SetOption = None, url: UrlOption = HERE, token_file: TokenFileOption = None
) -> None:
    """Check a sweep without submitting it, and print its warnings, its number of trials and how long it would take."""
    _print_dry_run(file, settings, url, token_file, calibrate=False)


COMMANDS = (submit, watch, ls, show, pause, resume, stop, cancel, change, rerun, extend, rm, validate)


def _print_dry_run(
    file: Path, settings: list[str] | None, url: str, token_file: Path | None, *, calibrate: bool
) -> None:
    document = documents.load(file, settings)
    with connect(url, token_file) as client:
        plan = client.validate(document, calibrate=calibrate)
    tables.print_warnings(console, plan["warnings"])
    amount, packs = point_tables.amount(plan, plan["trials"]), tables.counted(plan["estimate"]["packs"], "pack")
    console.print(f"Valid. {amount}, trained in {packs}.")
    if plan["excluded_points"]:
        console.print(f"Left out for a constraint: {tables.counted(plan['excluded_points'], 'point')} of the grid.")
    console.print(tables.estimate(plan))


def _steer(id: str, url: str, token_file: Path | None, verb: Literal["pause", "resume", "stop", "cancel"]) -> None:
    with connect(url, token_file) as client:
        id = ids.sweep_or_trial(client, id)
        subject = getattr(client, verb)(id)
    wanted = subject.get("wanted")
    console.print(f"{id} is {subject['state']}" + (f", {wanted} is under way" if wanted else ""))
