"""Makes the frozen home of a release, which tests of later releases open: ``make_home.py HOME OUT RELEASE``.

To be run with the code of that release, before anything of it is renamed or changed::

    python make_home.py ./old-home ./fixture 0.1.0

It starts the embedded stack in HOME, a folder that does not exist yet, runs one small sweep to its end, pauses another
one half way, stops the stack and packs what a later release has to be able to read into ``OUT/home_0_1_0.tar.gz``.
A copy is then restored beside HOME, in ``HOME-restored``, and resumed: what comes out is packed too. About a minute.

The archive::

    home/spectral.db      the service's database; the folder of the home is written @HOME@ in it
    home/checkpoints/     by sweep and trial
    model/                one logged MLflow model of the finished sweep
    expected.npz          inputs, and what the networks make of them
    facts.json            ids, states and steps, and what each array in expected.npz is of
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch

from service.client import RestClient
from service.stack import Stack
from workers.models import load

os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")

PLACE = "@HOME@"
"""Stands for the absolute path of the home in the frozen database."""

FINISHED: dict[str, Any] = {
    "name": "finished",
    "task": {"name": "adding", "length": 10},
    "model": {"kind": "spectral_rnn", "hidden_size": 8},
    "training": {"steps": 40, "batch_size": 8, "report_every": 20},
    "space": {"model.reflectors": {"values": [2, 4]}},
    "resources": {"cpus": 0.5},
}
"""Adam in float32; the shapes of two reflector counts."""

PAUSED: dict[str, Any] = {
    "name": "paused",
    "task": {"name": "adding", "length": 10},
    "model": {"hidden_size": 8, "reflectors": 2},
    "training": {
        "steps": 600, "batch_size": 8, "dtype": "float64", "report_every": 60, "checkpoint_every": 60,
        "optimizer": "rmsprop", "momentum": 0.9, "warmup_steps": 20, "weight_decay": 0.001,
        "schedule": "step", "schedule_factor": 0.5, "schedule_every": 150,
    },
    "space": {
        "model.kind": {"values": ["spectral_rnn", "spectral_lstm"]},
        "training.optimizer": {"values": ["adamw", "rmsprop"]},
    },
    "resources": {"cpus": 0.5},
}  # fmt: skip
"""Two kinds by two optimisers, each in a pack of its own; float64, so that what follows a resume can be compared."""

TRIALS = {"finished": 2, "paused": 4}
KEYS = {"finished": "frozen-finished", "paused": "frozen-paused"}
"""Idempotency keys the sweeps were submitted with."""

CHECKPOINTED = "FROM checkpoints c JOIN trials t ON t.id = c.trial_id WHERE t.sweep_id = ?"


def until(what: Callable[[], bool], seconds: float = 120.0) -> None:
    """Returns once the condition holds."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what.__name__}")
        time.sleep(0.05)


def rows(database: Path, query: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        return connection.execute(query, values).fetchall()


def started(home: Path) -> Stack:
    return Stack(home, 0, 0, cpus=2, say=print)


def settle(database: Path) -> None:
    """Returns once no runner is left and MLflow has been told everything."""

    def settled() -> bool:
        ((entries,),) = rows(database, "SELECT count(*) FROM outbox")
        ((packs,),) = rows(database, "SELECT count(*) FROM packs WHERE state != 'ended'")
        return not entries and not packs

    until(settled)


def run_sweeps(home: Path) -> dict[str, str]:
    """One sweep that has finished and one that is paused; gives their ids by name."""
    database = home / "spectral.db"
    with started(home) as stack, RestClient(stack.url) as client:
        finished = client.wait(client.submit(FINISHED, KEYS["finished"])["id"])
        if finished["state"] != "succeeded":
            raise RuntimeError(f"the first sweep has {finished['state']}: {finished['reason']}")
        paused = client.submit(PAUSED, KEYS["paused"])["id"]

        def all_checkpointed() -> bool:
            return bool(rows(database, f"SELECT count(DISTINCT t.id) {CHECKPOINTED}", paused) == [(TRIALS["paused"],)])

        until(all_checkpointed)
        client.pause(paused)
        settle(database)
        trials = list(client.trials(paused))
        if client.sweep(paused)["state"] != "paused" or any(t["state"] != "waiting" for t in trials):
            raise RuntimeError("a trial ended before the pause came to it: give them more steps")
    return {"finished": finished["id"], "paused": paused}


def freeze(home: Path, frozen: Path, finished: str) -> None:
    """Copy what is kept of the home, without its absolute path."""
    (frozen / "home").mkdir(parents=True)
    database = frozen / "home" / "spectral.db"
    with closing(sqlite3.connect(home / "spectral.db", timeout=10)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(home / "spectral.db", database)
    put_in_place(database, str(home), PLACE)
    shutil.copytree(home / "checkpoints", frozen / "home" / "checkpoints")
    query = "SELECT run_id FROM projections JOIN trials ON id = subject_id WHERE sweep_id = ? AND number = 1"
    ((run,),) = rows(database, query, finished)
    for described in sorted((home / "mlflow" / "artifacts").rglob("MLmodel")):
        if f"run_id: {run}" in described.read_text():
            shutil.copytree(described.parent, frozen / "model", ignore=shutil.ignore_patterns("__pycache__"))
    if not (frozen / "model").is_dir():
        raise RuntimeError("MLflow has no model of the finished sweep")
    for path in frozen.rglob("*"):
        if path.is_file() and os.fsencode(home) in path.read_bytes():
            raise RuntimeError(f"{path} holds the path of the home")


def put_in_place(database: Path, old: str, new: str) -> dict[str, int]:
    """Write ``new`` for ``old`` wherever it stands in a text of the database; gives how often, by column."""
    changed: dict[str, int] = {}
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in names:
            for _, column, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                cursor = connection.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?1, ?2) '
                    f'WHERE typeof("{column}") = \'text\' AND instr("{column}", ?1)',
                    (old, new),
                )
                if cursor.rowcount:
                    changed[f"{table}.{column}"] = cursor.rowcount
        connection.commit()
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return changed


def restore(frozen: Path, home: Path) -> None:
    """A home that a stack can be started in. This is all that a test has to do."""
    shutil.copytree(frozen / "home", home)
    with closing(sqlite3.connect(home / "spectral.db")) as connection, connection:
        connection.execute("UPDATE checkpoints SET path = replace(path, ?, ?)", (PLACE, str(home)))


def facts_of(frozen: Path, sweeps: dict[str, str], release: str) -> dict[str, Any]:
    """What the tables say, by name of the sweep."""
    database = frozen / "home" / "spectral.db"
    (migration,) = rows(database, "SELECT version_num FROM alembic_version")[0]
    facts: dict[str, Any] = {"release": release, "migration": migration, "sweeps": {}}
    for name, sweep in sweeps.items():
        ((state,),) = rows(database, "SELECT state FROM sweeps WHERE id = ?", sweep)
        columns = "id, number, state, step, best_step, objective, params"
        query = f"SELECT {columns} FROM trials WHERE sweep_id = ? ORDER BY number"
        trials = []
        for id, number, trial_state, step, best_step, objective, params in rows(database, query, sweep):
            found = rows(database, "SELECT step, path, best FROM checkpoints WHERE trial_id = ? ORDER BY step", id)
            reports = rows(database, "SELECT step FROM reports WHERE trial_id = ? ORDER BY step", id)
            there = [c for c in found if (frozen / "home" / c[1].removeprefix(f"{PLACE}/") / "manifest.json").is_file()]
            trials.append({
                "id": id, "number": number, "state": trial_state, "step": step, "best_step": best_step,
                "objective": objective, "params": json.loads(params),
                "reports": [r[0] for r in reports],
                "checkpoint_rows": [c[0] for c in found],
                "checkpoints": [c[1].removeprefix(f"{PLACE}/") for c in there],
            })  # fmt: skip
        facts["sweeps"][name] = {"id": sweep, "key": KEYS[name], "state": state, "trials": trials}
    return facts


def expected(frozen: Path, facts: dict[str, Any]) -> dict[str, np.ndarray]:
    """Inputs and outputs; ``facts["arrays"]`` then says which array belongs to which checkpoint."""
    source = np.random.default_rng(0)
    inputs = np.stack([source.random((5, 10)), source.integers(0, 2, (5, 10))], axis=-1)
    arrays = {"input_float32": inputs.astype(np.float32), "input_float64": inputs}
    arrays["logged_model"] = mlflow.pyfunc.load_model(str(frozen / "model")).predict(arrays["input_float32"])
    named: dict[str, dict[str, str]] = {"logged_model": {"of": "model", "input": "input_float32"}}
    for name, sweep in facts["sweeps"].items():
        for trial in sweep["trials"]:
            path = trial["checkpoints"][-1]
            network = load(frozen / "home" / path)
            dtype = str(next(network.parameters()).dtype).removeprefix("torch.")
            with torch.inference_mode():
                array = network(torch.from_numpy(arrays[f"input_{dtype}"])).numpy()
            key = f"{name}_{trial['number']}"
            arrays[key], named[key] = array, {"of": f"home/{path}", "input": f"input_{dtype}"}
    facts["arrays"] = named
    return arrays


def resumed(frozen: Path, home: Path, facts: dict[str, Any]) -> None:
    """Resume the paused sweep in a restored home, and note what its trials come to."""
    restore(frozen, home)
    paused = facts["sweeps"]["paused"]
    with started(home) as stack, RestClient(stack.url) as client:
        for name, sweep in facts["sweeps"].items():
            document = FINISHED if name == "finished" else PAUSED
            if client.submit(document, sweep["key"])["id"] != sweep["id"]:
                raise RuntimeError(f"the key of sweep {name} is not known any more")
        client.resume(paused["id"])
        ended = client.wait(paused["id"])
        if ended["state"] != "succeeded":
            raise RuntimeError(f"the paused sweep has {ended['state']} after its resume: {ended['reason']}")
        settle(home / "spectral.db")
        models = len(list((home / "mlflow" / "artifacts").rglob("MLmodel")))
        if models != sum(TRIALS.values()):
            raise RuntimeError(f"after the resume MLflow has {models} models, not one of each trial")
        for trial, now in zip(paused["trials"], client.trials(paused["id"]), strict=True):
            query = "SELECT from_step FROM attempts WHERE trial_id = ? ORDER BY number"
            attempts = rows(home / "spectral.db", query, now["id"])
            if now["step"] != PAUSED["training"]["steps"] or attempts != [(0,), (trial["step"],)]:
                raise RuntimeError(f"trial {now['id']} ended at step {now['step']}, its attempts began at {attempts}")
            trial["resumed"] = {
                "state": now["state"], "objective": now["objective"], "best_step": now["best_step"],
                "val/loss": {str(p["step"]): p["values"]["val/loss"] for p in client.metrics(now["id"], ["val/loss"])},
            }  # fmt: skip


def pack(frozen: Path, archive: Path) -> None:
    """The same bytes for the same files: no times, no owners."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(path for path in frozen.rglob("*") if "__pycache__" not in path.parts):
            about = tar.gettarinfo(str(path), str(path.relative_to(frozen)))
            about.uid = about.gid = about.mtime = 0
            about.uname = about.gname = ""
            about.mode = 0o755 if path.is_dir() else 0o644
            with path.open("rb") if path.is_file() else io.BytesIO() as file:
                tar.addfile(about, file)
    archive.write_bytes(gzip.compress(content.getvalue(), 9, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the frozen home of a release.")
    parser.add_argument("home", type=Path, help="folder to run the stack in; it must not exist")
    parser.add_argument("out", type=Path, help="folder of the archive")
    parser.add_argument("release", help="of the code that runs, as 0.1.0")
    given = parser.parse_args()
    home = given.home.resolve()
    again = home.with_name(f"{home.name}-restored")
    for folder in (home, again):
        if folder.exists():
            parser.error(f"{folder} exists")
    given.out.mkdir(parents=True, exist_ok=True)
    archive = given.out / f"home_{given.release.replace('.', '_')}.tar.gz"
    with tempfile.TemporaryDirectory() as temporary:
        frozen = Path(temporary)
        sweeps = run_sweeps(home)
        freeze(home, frozen, sweeps["finished"])
        facts = facts_of(frozen, sweeps, given.release)
        np.savez_compressed(frozen / "expected.npz", **expected(frozen, facts))
        resumed(frozen, again, facts)
        (frozen / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
        pack(frozen, archive)
    print(f"{archive}: {archive.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
