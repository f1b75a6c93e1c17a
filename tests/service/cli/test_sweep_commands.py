"""The commands about sweeps, against a real service over a database."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.cli import tables
from service.store import components, cost_samples, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial
from tests.service.cli.command_line import Done, spectral
from tests.service.estimates.examples import measured
from workers.spec.expand import plan_trials
from workers.spec.parse import parse_sweep

NewSweep = Callable[..., Sweep]


def test_submit_show_steer(base_url: str, file: str, database: Database) -> None:
    done = spectral("submit", file, "--key", "k", url=base_url)
    assert (done.returncode, done.stderr) == (0, "")
    id = done.stdout.split()[0]
    assert f"{id}  4 trials, queued" in done.stdout
    assert f"{base_url}/#{id}" in done.stdout
    assert spectral("submit", file, "--key", "k", url=base_url).stdout == done.stdout
    listed = spectral("ls", "--url", base_url).stdout
    assert id in listed
    assert "0/4" in listed
    for verb, state in (("pause", "paused"), ("resume", "running"), ("stop", "stopping"), ("cancel", "cancelling")):
        assert spectral(verb, id, url=base_url).stdout == f"{id} is {state}\n"
    late = spectral("pause", id, url=base_url)
    assert late.returncode == 2
    assert "cannot pause a sweep that is cancelling" in late.stderr
    assert "cancelling" in spectral("show", id, url=base_url).stdout


def test_show_has_the_trials_best_first(base_url: str, database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, made = running
    with database.write() as session:
        for trial, value in zip(made, (0.4, 0.1, None, 0.2), strict=True):
            trials.get(session, trial.id).objective = value
    shown = spectral("show", sweep.id, url=base_url).stdout
    places = [shown.rindex(made[number].id) for number in (1, 3, 0, 2)]
    assert places == sorted(places)
    assert "best:   val/loss = 0.1  reflectors=2 margin=0.1" in shown
    assert "warning" not in shown
    with database.write() as session:
        nodes = [{"name": "a", "cpus": 0.5, "gpus": 0.0}]
        components.note(session, "ray", True, "1 node", {"nodes": nodes})
    warned = spectral("show", sweep.id, url=base_url).stdout
    assert "warning resources.cpus = 1.0 is more than any node has now, so the sweep waits; at most 0.5 here" in warned
    stopped = spectral("stop", made[0].id, url=base_url)
    assert stopped.stdout == f"{made[0].id} is waiting, stop is under way\n"


@pytest.mark.parametrize(("end", "code"), [("succeeded", 0), ("failed", 1)])
def test_watch_ends_with_the_sweep_and_its_leaderboard(
    base_url: str, database: Database, running: tuple[Sweep, list[Trial]], end: Any, code: int
) -> None:
    sweep, made = running
    started = threading.Event()

    def run() -> None:
        with database.write() as session:
            for trial in made:
                row = trials.get(session, trial.id)
                trials.move(session, row, "running")
                row.step, row.objective = 50, 1.0 + row.number
        started.set()
        with database.write() as session:
            for trial in made:
                trials.move(session, trials.get(session, trial.id), "succeeded")
            sweeps.move(session, sweep.id, end, None if end == "succeeded" else "it went wrong")

    writer = threading.Thread(target=run)
    writer.start()
    done = spectral("watch", sweep.id, url=base_url)
    writer.join()
    assert started.is_set()
    assert (done.returncode, done.stderr) == (code, "")
    assert made[0].id in done.stdout
    assert end in done.stdout
    assert done.stdout.count("warning val/loss = 1.0 is not better than the best constant answer") == 1
    assert ("it went wrong" in done.stdout) == (end == "failed")


def test_validate_says_what_would_run_and_warns(base_url: str, document: dict[str, Any]) -> None:
    done = spectral("validate", "-", url=base_url, text=json.dumps(document))
    assert done.returncode == 0
    assert done.stdout.startswith("Valid. 4 trials, trained in 1 pack.\n")
    assert "wall time           not known" in done.stdout
    document["space"]["model.margin"]["values"] = [0.9]
    warned = spectral("validate", "-", url=base_url, text=json.dumps(document))
    assert "warning space.model.margin = 0.9 is above 10 / T" in warned.stdout.replace("\n", " ")


def test_a_dry_run_submits_nothing_and_prints_each_number_with_its_reason(
    base_url: str, database: Database, document: dict[str, Any]
) -> None:
    pack = [plan.require_spec() for plan in plan_trials(parse_sweep(document))]
    with database.write() as session:
        components.note(session, "ray", True, "1 node", {"nodes": [{"name": "a", "cpus": 1.0, "gpus": 0.0}]})
        cost_samples.add(session, [measured(pack, step_seconds=2.0)])
    done = spectral("submit", "-", "--dry-run", url=base_url, text=json.dumps(document))
    assert (done.returncode, done.stderr) == (0, "")
    # 100 steps of 2 s, and what is beside them
    assert re.search(r"^wall time +3\.6 min \(3\.1 min to 4\.1 min\) +step times", done.stdout, re.MULTILINE)
    assert re.search(r"^device-hours +0\.0597 of CPUs", done.stdout, re.MULTILINE)
    assert re.search(r"^memory of a worker +0\.40 GB +as an earlier worker had", done.stdout, re.MULTILINE)
    assert "this server may make none" in done.stdout
    with database.read() as session:
        assert sweeps.open_sweeps(session) == []


def test_the_time_that_is_left_is_shown(base_url: str, database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, made = running
    assert "left:   not known: none of its trials runs" in spectral("show", sweep.id, url=base_url).stdout
    with database.write() as session:
        trials.move(session, trials.get(session, made[0].id), "running")
        sweeps.note_eta(session, sweep.id, time.time() + 3600)
    assert "left:   about 60 min" in spectral("show", sweep.id, url=base_url).stdout
    assert "about 60 min" in spectral("ls", url=base_url).stdout


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4.4, "4 s"),
        (89.0, "89 s"),
        (91.0, "1.5 min"),
        (601.0, "10 min"),
        (5399.0, "90 min"),
        (9000.0, "2.5 h"),
        (300_000.0, "3.5 days"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert tables.duration(seconds) == words


def test_a_wrong_field_is_named_with_what_is_allowed(base_url: str, document: dict[str, Any]) -> None:
    document["model"]["hidden_size"] = 0
    for command in ("submit", "validate"):
        done = spectral(command, "-", url=base_url, text=json.dumps(document))
        assert (done.returncode, done.stdout) == (2, "")
        assert "  model.hidden_size: is less than 1\n" in done.stderr
        assert "given:   0" in done.stderr
        assert "allowed: at least 1" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a":\n  oops}', "standard input is not JSON at line 2, column 3"),
        ("[1]", "standard input does not hold an object"),
        ('{"a": NaN}', "a: is not a finite number"),
        ("[" * 100_000, "nested too deep"),
        ('{"name": "a", "name": "b"}', "name: is given twice in one object"),
        ("[1" + "0" * 5000 + "]", "is not a finite number, or has too many digits"),
    ],
)
def test_a_file_that_is_not_a_sweep_ends_in_a_message_without_a_traceback(text: str, words: str) -> None:
    done = spectral("submit", "-", text=text)
    assert done.returncode == 2
    assert words in done.stderr


def test_an_unknown_sweep_is_named(base_url: str) -> None:
    done = spectral("show", "sw0123456789", url=base_url)
    assert (done.returncode, done.stderr) == (4, "Not found: there is no sweep 'sw0123456789'\n")


def test_report_prints_the_results_or_writes_files(
    base_url: str, database: Database, running: tuple[Sweep, list[Trial]], tmp_path: Path
) -> None:
    sweep, made = running
    assert "No trial has a result yet." in spectral("report", sweep.id, url=base_url).stdout
    with database.write() as session:
        for trial, value in zip(made[:2], (0.5, 0.25), strict=True):
            row = trials.get(session, trial.id)
            trials.move(session, row, "running")
            row.objective = value
            trials.move(session, row, "succeeded")
    done = spectral("report", sweep.id, url=base_url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.index(made[1].id) < done.stdout.index(made[0].id)
    assert "2 trials with a result are too few to tell" in done.stdout
    assert "0.25" in done.stdout
    assert "2 trials have ended" in done.stdout
    files = {"--html": tmp_path / "r.html", "--csv": tmp_path / "r.csv", "--optuna": tmp_path / "r.db"}
    arguments = [text for option, file in files.items() for text in (option, str(file))]
    done = spectral("report", sweep.id, *arguments, url=base_url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 3
    assert made[0].id not in done.stdout
    starts = {"--html": b"<!doctype html>", "--csv": b"rank,trial,", "--optuna": b"SQLite format 3"}
    assert all(files[option].read_bytes().startswith(start) for option, start in starts.items())
    assert sorted(tmp_path.glob(".*.part")) == []
    refused = spectral("report", sweep.id, "--csv", str(tmp_path / "nowhere" / "r.csv"), url=base_url)
    assert refused.returncode == 2
    assert "cannot write" in refused.stderr
    assert spectral("report", "sw0123456789", url=base_url).returncode == 4


def test_change_sets_priority_and_parallel_trials(base_url: str, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, _ = running

    def change(*arguments: str) -> Done:
        return spectral("change", sweep.id, *arguments, url=base_url)

    waits = "; waits for the next round of the controller\n"
    assert change("--priority", "-4").stdout == f"{sweep.id} is running: priority -4, as many trials as fit{waits}"
    assert change("--max-parallel", "2").stdout == f"{sweep.id} is running: priority -4, max_parallel 2{waits}"
    assert f"queue:  priority -4, max_parallel 2{waits}" in spectral("show", sweep.id, url=base_url).stdout
    assert change("--max-parallel", "none", "--priority=0").stdout.endswith(f"priority 0, as many trials as fit{waits}")
    for arguments, problem in (
        ([], "needs --priority, --max-parallel, --tag"),
        (["--max-parallel", "two"], "--max-parallel is 'two'; allowed: a whole number, or none"),
        (["--max-parallel", "0"], "max_parallel"),
        (["--priority", "500"], "at most 100"),
    ):
        refused = change(*arguments)
        assert (refused.returncode, problem in refused.stderr) == (2, True), refused.stderr


def test_tags_and_the_archive_are_changed_and_listed(
    base_url: str, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, _ = running

    def change(*arguments: str) -> str:
        return spectral("change", sweep.id, *arguments, url=base_url).stdout

    assert change("--tag", "red", "--tag", "big") == f"{sweep.id} is running: tags big, red\n"
    assert change("--untag", "big", "--tag", "red") == f"{sweep.id} is running: tags red\n"
    assert "tags:   red\n" in spectral("show", sweep.id, url=base_url).stdout
    assert sweep.id in spectral("ls", "--tag", "red", url=base_url).stdout
    assert spectral("ls", "--tag", "big", url=base_url).stdout == "There are no sweeps with the tag big.\n"
    both = "There are no sweeps with the tags red and big.\n"
    assert spectral("ls", "--tag", "red", "--tag", "big", url=base_url).stdout == both
    assert "cannot archive a sweep that is running" in spectral("change", sweep.id, "--archive", url=base_url).stderr
    with database.write() as session:
        sweeps.move(session, sweep.id, "cancelling")
        sweeps.move(session, sweep.id, "cancelled")
    assert change("--archive") == f"{sweep.id} is cancelled: tags red; archived\n"
    assert sweep.id not in spectral("ls", url=base_url).stdout
    assert sweep.id in spectral("ls", "--archived", url=base_url).stdout
    assert change("--unarchive", "--untag", "red") == f"{sweep.id} is cancelled\n"


def test_rerun_extend_and_rm(base_url: str, database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, made = running
    with database.write() as session:
        for trial in made:
            row = trials.get(session, trial.id)
            trials.move(session, row, "failed" if row.number < 2 else "cancelled")
        sweeps.move(session, sweep.id, "failed", "over")
    assert spectral("rerun", made[0].id, url=base_url).stdout == f"{made[0].id} is waiting\n"
    assert spectral("rerun", sweep.id, url=base_url).stdout == f"{sweep.id} is running, 2 trials to run\n"
    grown = spectral(
        "extend", sweep.id, "--values", "model.margin=0.3,0.4", "--values", "model.reflectors=8", url=base_url
    )
    assert (grown.stdout, grown.stderr) == (f"{sweep.id} is running: 12 trials, of which 10 wait\n", "")
    wrong = spectral("extend", sweep.id, "--values", "model.margin=wide", url=base_url)
    assert wrong.returncode == 2
    assert "space.model.margin.0" in wrong.stderr
    assert '"wide"' in wrong.stderr
    for arguments, problem in (
        ([], "either --trials or --values"),
        (["--trials", "2", "--values", "model.margin=0.5"], "either --trials or --values"),
        (["--values", "model.margin"], "another form than PATH=VALUE,VALUE"),
        (["--values", "model.margin=0.5,"], "another form than PATH=VALUE,VALUE"),
    ):
        refused = spectral("extend", sweep.id, *arguments, url=base_url)
        assert (refused.returncode, problem in refused.stderr) == (2, True), refused.stderr
    assert "cannot delete a sweep that is running" in spectral("rm", sweep.id, "--yes", url=base_url).stderr
    with database.write() as session:
        sweeps.move(session, sweep.id, "failed", "over")
    kept = spectral("rm", sweep.id, url=base_url, text="n\n")
    assert kept.returncode == 1
    assert spectral("show", sweep.id, url=base_url).returncode == 0
    assert spectral("rm", sweep.id, url=base_url, text="y\n").stdout.endswith(f"{sweep.id} is deleted\n")
    assert "there is no sweep" in spectral("rm", "-y", sweep.id, url=base_url).stderr


def test_ls_has_task_best_value_and_age(base_url: str, database: Database, running: tuple[Sweep, list[Trial]]) -> None:
    sweep, made = running
    with database.write() as session:
        trials.get(session, made[0].id).objective = 0.125
        sweeps.get(session, sweep.id).created_at -= 7200
    (line,) = [line for line in spectral("ls", url=base_url).stdout.splitlines() if sweep.id in line]
    assert " adding " in line
    assert " 0.125 " in line
    assert line.rstrip().endswith("2.0 h")
    (found,) = json.loads(spectral("ls", "--json", url=base_url).stdout)
    assert (found["id"], found["best_objective"]) == (sweep.id, 0.125)
    none = spectral("ls", "--state", "failed", "--state", "paused", url=base_url)
    assert none.stdout == "There are no sweeps in state failed or paused.\n"
    shown = json.loads(spectral("show", "last", "--json", url=base_url).stdout)
    assert shown["leaderboard"][0]["id"] == made[0].id


def test_watch_prints_lines_where_there_is_no_terminal(
    base_url: str, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, made = running
    with database.write() as session:
        for trial in made:
            row = trials.get(session, trial.id)
            trials.move(session, row, "running")
            row.step, row.objective = 100, 0.5
            trials.move(session, row, "succeeded")
        sweeps.move(session, sweep.id, "succeeded")
    first = spectral("watch", "last", url=base_url).stdout.splitlines()[0]
    assert first.endswith("succeeded  4/4 trials  400/400 steps  best 0.5")
