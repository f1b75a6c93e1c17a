"""The commands about one trial, against a real service over a database."""

from __future__ import annotations

import csv
import io
import json

import pytest

from service.cli import log_lines, trial_commands
from service.cli.options import FOLLOW_PATIENCE_SECONDS, PATIENCE_SECONDS
from service.client import RestClient
from service.store import attempts, pack_lines, sweeps, trials
from service.store.database import Database
from service.store.tables import Attempt, Pack, Sweep, Trial, TrialReport
from tests.service.cli.command_line import spectral
from workers.protocol import OutputLine

Running = tuple[Sweep, list[Trial]]


@pytest.fixture
def failed(database: Database, running: Running) -> Trial:
    """A trial that has reported twice and then failed."""
    sweep, made = running
    with database.write() as session:
        row = trials.get(session, made[1].id)
        session.add(Pack(id="p", sweep_id=sweep.id, state="ended", trial_ids=[row.id], cpus=1.0, gpus=0.0, term=1))
        session.flush()
        trials.move(session, row, "running")
        attempt = Attempt(trial_id=row.id, number=1, pack_id="p", from_step=0)
        session.add(attempt)
        session.add(TrialReport(trial_id=row.id, step=10, values={"val/loss": 0.5, "train/loss": 0.75}))
        session.add(TrialReport(trial_id=row.id, step=20, values={"val/loss": 0.25, "grad_t/03": 1.5}))
        session.flush()
        row.step, row.objective, row.best_step = 20, 0.25, 20
        attempts.end(attempt, "failed", "user", "train/loss was inf", "Traceback\nValueError: no\x1b[2J")
        trials.move(session, row, "failed", "train/loss was inf")
    return row


def test_a_trial_is_shown_by_its_short_id(base_url: str, failed: Trial) -> None:
    done = spectral("trial", "last-1", url=base_url)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"trial 1  {failed.id}  failed" in done.stdout
    for words in (
        "reason:   train/loss was inf",
        "best:     val/loss = 0.25 at step 20",
        "step:     20",
        "val/loss  0.25",
    ):
        assert words in done.stdout
    assert "grad_t" not in done.stdout
    assert "user" in done.stdout
    found = json.loads(spectral("trial", failed.id, "--json", url=base_url).stdout)
    assert (found["id"], found["state"], found["last_metrics"]["step"]) == (failed.id, "failed", 20)
    assert [attempt["cause"] for attempt in found["attempts"]] == ["user"]


def test_logs_are_in_order_of_time_with_the_traceback(base_url: str, failed: Trial) -> None:
    done = spectral("logs", failed.id, "--follow", url=base_url)
    assert (done.returncode, done.stderr) == (0, "")
    places = [
        done.stdout.index(words) for words in ("trial.running", "attempt 1 ended: failed (user)", "ValueError: no")
    ]
    assert places == sorted(places)
    assert "trial.failed" in done.stdout
    assert "\x1b" not in done.stdout, "what a data file says moves no cursor"


def test_metrics_are_a_table_for_other_programs(base_url: str, failed: Trial) -> None:
    done = spectral("metrics", failed.id, url=base_url)
    assert list(csv.reader(io.StringIO(done.stdout))) == [
        ["step", "grad_t/03", "train/loss", "val/loss"],
        ["10", "", "0.75", "0.5"],
        ["20", "1.5", "", "0.25"],
    ]
    one = spectral("metrics", failed.id, "--key", "val/loss", url=base_url)
    assert one.stdout == "step,val/loss\n10,0.5\n20,0.25\n"
    assert len(json.loads(spectral("metrics", failed.id, "--json", url=base_url).stdout)) == 2


@pytest.mark.parametrize("command", ["trial", "logs", "metrics"])
def test_a_sweep_is_no_trial(base_url: str, running: Running, command: str) -> None:
    done = spectral(command, running[0].id, url=base_url)
    assert done.returncode == 2
    assert f"is a sweep; this command takes a trial, such as {running[0].id}-0" in done.stderr
    missing = spectral(command, f"{running[0].id}-99", url=base_url)
    assert (missing.returncode, missing.stdout) == (4, "")
    assert f"there is no trial '{running[0].id}-0099'" in missing.stderr


def test_verbs_take_short_ids_and_sweeps_alone_where_they_need_one(
    base_url: str, database: Database, running: Running
) -> None:
    sweep, made = running
    assert f"{sweep.id} is paused" in spectral("pause", "last", url=base_url).stdout
    assert f"{sweep.id} is running" in spectral("resume", sweep.id[:6], url=base_url).stdout
    assert f"{made[2].id} is waiting, stop is under way" in spectral("stop", "last-2", url=base_url).stdout
    refused = spectral("show", made[0].id, url=base_url)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"{made[0].id} is a trial; this command takes a sweep" in refused.stderr
    with database.write() as session:
        for trial in made:
            trials.move(session, trials.get(session, trial.id), "cancelled")
        sweeps.move(session, sweep.id, "failed", "over")
    assert spectral("rm", "last", "--yes", url=base_url).stdout == f"{sweep.id} is deleted\n"
    empty = spectral("show", "last", url=base_url)
    assert (empty.returncode, "there are no sweeps yet" in empty.stderr) == (4, True)


def test_logs_have_what_workers_printed_between_the_events_and_print_nothing_twice(
    base_url: str, database: Database, failed: Trial
) -> None:
    with database.write() as session:
        at = attempts.of_trial(session, failed.id)[0].started_at
        lines = [
            OutputLine(seq=1, at=at, stream="stdout", text=":smile: [b]again[/b]"),
            OutputLine(seq=2, at=at, stream="stdout", text=":smile: [b]again[/b]"),
            *(OutputLine(seq=seq, at=at, stream="stdout", text=f"line {seq}") for seq in range(3, 1_500)),
            OutputLine(seq=1_500, at=at, stream="log", level="ERROR", text="Traceback"),
        ]
        pack_lines.add(session, "p", lines)
    done = spectral("logs", failed.id, "--follow", url=base_url)
    assert (done.returncode, done.stderr) == (0, "")
    texts = [line[22:] for line in done.stdout.splitlines()]
    assert texts.count("stdout   :smile: [b]again[/b]") == 2
    assert [text for text in texts if text.startswith("stdout   line")] == [
        f"stdout   line {i}" for i in range(3, 1_500)
    ]
    assert sum("Traceback" in text for text in texts) == 1
    assert texts.index("ERROR    Traceback") < texts.index("attempt 1 ended: failed (user): train/loss was inf")
    assert any(text.endswith("ValueError: no [2J") for text in texts)
    alone = spectral("logs", failed.id, "--output-only", url=base_url).stdout.splitlines()
    assert [line[22:] for line in alone] == [text for text in texts if text.startswith(("stdout", "ERROR"))]


def test_logs_that_are_followed_wait_for_a_service_that_restarts(
    base_url: str, failed: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def lines(client: RestClient, *_given: object, **_named: object) -> list[str]:
        seen.append(client.patience)
        return []

    monkeypatch.setattr(log_lines, "lines", lines)
    for follow in (False, True):
        trial_commands.logs(failed.id, follow=follow, url=base_url)
    assert seen == [PATIENCE_SECONDS, FOLLOW_PATIENCE_SECONDS]
