"""Runs of sweeps through the service: submit them, show their progress, and save a record of each when it ends.

The process may be killed at any time. The same call then continues: a sweep is found by its idempotency key, and its
trials continue from their checkpoints.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service.client import Json, RestClient, timestamp
from service.states import SWEEP_ENDED
from study import machine
from study.documents import SweepDocument
from study.errors import SweepEnded
from study.records import PointRecord, Record, Records, TrialRecord

POLL_SECONDS = 2.0
ENDED_BY_HAND = ("cancelled", "stopped")


def run(client: RestClient, documents: Sequence[SweepDocument], records: Records, console: Console) -> None:
    """Submit sweeps together, wait until all have ended, and save a record of each as soon as it ends.

    Sweeps that are under way are continued. All other sweeps of the service that are queued or running are paused, and
    stay so. A sweep that fails is recorded too.

    Args:
        client: A client of the service.
        documents: The sweep documents.
        records: Where the records are saved.
        console: Where the progress is shown.

    Raises:
        SweepEnded: If somebody cancels or stops one of the sweeps. The sweeps that have not ended go on in the service.
    """
    made_on = machine.describe()  # before anything runs, since the source may change meanwhile
    sweeps = {document.stem: _submit(client, document, records) for document in documents}
    _pause_others(client, {sweep["id"] for sweep in sweeps.values()})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        lines = {document.stem: bars.add_task(document.stem, total=None) for document in documents}
        waiting = {document.stem: document for document in documents}
        while waiting:
            seen = {sweep["id"]: sweep for sweep in client.sweeps(archived=None)}
            for stem, document in list(waiting.items()):
                sweep = seen[sweeps[stem]["id"]]
                _show(bars, lines[stem], stem, sweep)
                if sweep["state"] in SWEEP_ENDED:
                    del waiting[stem]
                    _save(client, client.sweep(sweep["id"]), document, records, made_on)
                    left = f"{len(waiting)} to go" if waiting else "the last one"
                    console.print(f"{stem}: {sweep['state']}, {sweep['trials']['total']} trials recorded; {left}.")
            if waiting:
                time.sleep(POLL_SECONDS)


def _submit(client: RestClient, document: SweepDocument, records: Records) -> Json:
    """Return the sweep of a document in the service: the one that was submitted before, or a new one.

    It is a new one if there is a record already, which then is of another document or incomplete and is deleted, or if
    somebody cancelled or stopped the sweep. A paused sweep is resumed.
    """
    if records.load(document.stem) is not None:
        records.start_over(document.stem)  # the record is of another document, or lacks trials
    sweep = client.submit(document.content, records.key(document))
    if sweep["state"] in ENDED_BY_HAND:
        records.start_over(document.stem)
        sweep = client.submit(document.content, records.key(document))
    if sweep["state"] == "paused":
        sweep = client.resume(sweep["id"])
    return sweep


def _pause_others(client: RestClient, ours: set[str]) -> None:
    for sweep in client.sweeps(state=["queued", "running"]):
        if sweep["id"] not in ours:
            client.pause(sweep["id"])


def _show(bars: Progress, line: TaskID, stem: str, sweep: Json) -> None:
    counts = sweep["trials"]
    ended = counts["total"] - counts["waiting"] - counts["running"]
    text = f"{stem}: {sweep['state']}, {ended} of {counts['total']} trials"
    bars.update(line, description=text, completed=sweep["progress"]["done"], total=sweep["progress"]["total"])
    if sweep["state"] in SWEEP_ENDED:
        bars.stop_task(line)


def _save(
    client: RestClient, sweep: Json, document: SweepDocument, records: Records, made_on: Mapping[str, str]
) -> None:
    if sweep["state"] in ENDED_BY_HAND:
        raise SweepEnded(
            f"sweep {document.stem} ({sweep['id']}) was {sweep['state']} before its end. "
            "To run it anew, run the same command without --again."
        )
    records.save(collect(client, sweep, document, made_on))


def collect(client: RestClient, sweep: Json, document: SweepDocument, made_on: Mapping[str, str]) -> Record:
    """Return the record of a sweep that has ended, with all reports and attempts of its trials.

    Args:
        client: A client of the service.
        sweep: The sweep, as the service returns it.
        document: The document that it was submitted from.
        made_on: Description of the machine, by ``machine.describe``.
    """
    return Record(
        stem=document.stem,
        document=document.content,
        spec=sweep["spec"],
        sweep_id=sweep["id"],
        state=sweep["state"],
        reason=sweep["reason"],
        machine=dict(made_on),
        trials=[_trial(client, trial) for trial in client.trials(sweep["id"])],
    )


def _trial(client: RestClient, trial: Json) -> TrialRecord:
    attempts = client.logs(trial["id"])["attempts"]
    points = [PointRecord(step=p["step"], values=p["values"]) for p in client.metrics(trial["id"])]
    names = ("number", "params", "state", "reason", "step", "objective", "best_step")
    times = {name: trial[name] and timestamp(trial[name]) for name in ("started_at", "ended_at")}
    last = attempts[-1] if attempts else {"pack_id": None, "cause": None}
    return TrialRecord(
        **{name: trial[name] for name in names},
        **times,
        pack=last["pack_id"],
        cause=last["cause"],
        attempts=len(attempts),
        points=points,
    )
