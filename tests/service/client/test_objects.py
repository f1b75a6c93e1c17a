"""Sweeps and trials as objects: their fields, what can be done with them, and how they are shown, in both clients."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from rich.console import Console

from service.api.app import create_app
from service.api.report import PARTS
from service.client import ApiError, Client, DocumentUnreadable, RestClient, SweepFailed, SweepHandle
from service.client.display import ProgressDisplay
from service.client.reading import read
from service.schemas import DryRun
from service.settings import ApiSettings
from service.store import sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial, TrialCheckpoint
from tests.service.api.test_documents import fill
from tests.service.client.conftest import Connect
from workers.checkpoints import CheckpointFolder
from workers.models import load
from workers.spec.expand import plan_trial
from workers.spec.parse import parse_sweep
from workers.training.training_state import TrainingState

Running = tuple[Sweep, list[Trial]]
NewSweep = Callable[..., Sweep]


@pytest.fixture
def client(base_url: str, connect: Connect) -> Iterator[Client]:
    with connect.typed(base_url, patience=10) as client:
        yield client


def end(database: Database, sweep_id: str, state: Any, reason: str | None = None) -> None:
    with database.write() as session:
        if state == "succeeded":
            sweeps.move(session, sweep_id, "running")
        sweeps.move(session, sweep_id, state, reason)


def test_a_sweep_has_its_fields_and_is_brought_up_to_date(client: Client, document: dict[str, Any]) -> None:
    sweep = client.submit(document)
    assert (sweep.name, sweep.state, sweep.counts.total, sweep.best) == ("margins", "queued", 4, None)
    assert sweep.created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - sweep.created_at) < timedelta(minutes=1)
    assert (sweep.pause().state, sweep.state, sweep.has_ended) == ("paused", "paused", False)
    assert sweep.change(priority=3).priority == 3
    assert sweep.change(max_parallel=2).max_parallel == 2
    assert (sweep.change(max_parallel=None).max_parallel, sweep.priority) == (None, 3)
    (listed,) = client.sweeps(limit=1).to_list()
    assert (listed.id, listed.cancel().state) == (sweep.id, "cancelling")
    assert sweep.state == "paused"
    assert sweep.refresh().state == "cancelling"
    with pytest.raises(LookupError, match=r"no trial of the sweep sw.* has a result"):
        sweep.best_trial()


def test_a_sweep_is_submitted_from_a_file_or_a_spec(client: Client, document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("task: {name: adding, length: 20}\nspace: {model.margin: [0.01, 0.1]}\n")
    assert client.submit(path).spec["task"]["length"] == 20
    assert client.validate(str(path)).trials == 2
    assert client.submit(parse_sweep(document)).spec == client.submit(document).spec
    with pytest.raises(DocumentUnreadable, match="there is no file"):
        client.submit(tmp_path / "none.json")
    path.write_text("space: .nan\n")
    with pytest.raises(DocumentUnreadable, match="is not a sweep document: space is not a finite number"):
        client.submit(path)


def test_results_become_tables(client: Client, database: Database, running: Running, new_sweep: NewSweep) -> None:
    sweep, made = running
    fill(database, sweep, made)
    found = client.sweep(sweep.id)
    table = found.trials(sort="objective").to_pandas()
    assert list(table.index[:1]) == [2]
    assert {"model.reflectors", "model.margin", "objective", "state", "created_at"} <= set(table.columns)
    assert table.loc[2, "model.margin"] == made[2].params["model.margin"]
    assert (str(table["created_at"].dt.tz), "links" in table) == ("UTC", False)
    history = client.trial(made[2].id).metrics().to_pandas()
    assert (list(history.index), list(history["val/loss"])) == ([5, 10], [0.2, 0.2])
    assert client.sweeps().to_pandas().loc[sweep.id, "counts.failed"] == 1
    empty = client.sweep(new_sweep().id)
    assert list(empty.trials()) == []
    assert (len(empty.trials().to_pandas()), len(client.trial(made[3].id).metrics().to_pandas())) == (0, 0)


def test_without_pandas_a_table_says_what_to_install(
    client: Client, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = client.sweep(running[0].id).trials()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="to_pandas needs pandas, which is not installed: pip install pandas"):
        rows.to_pandas()


def test_the_network_of_the_best_trial_is_loaded(
    client: Client, database: Database, running: Running, tmp_path: Path
) -> None:
    sweep, made = running
    spec = plan_trial(parse_sweep(sweep.spec), made[1].number, made[1].params).require_spec()
    folder = TrainingState.start(spec).save(CheckpointFolder(tmp_path / "trial", spec))
    with database.write() as session:
        session.add(TrialCheckpoint(trial_id=made[1].id, step=0, path=str(folder), best=True, objective=0.5))
        trials.get(session, made[1].id).objective = 0.5
    found = client.sweep(sweep.id)
    assert found.best is not None
    trial = found.best_trial()
    assert (trial.id, trial.objective, trial.params) == (made[1].id, found.best.objective, made[1].params)
    inputs = torch.randn(2, 5, spec.task.input_size)
    with torch.inference_mode():
        assert torch.equal(trial.load()(inputs), load(folder)(inputs))
    with pytest.raises(ApiError) as missing:
        found.trial(0).load()
    assert missing.value.status == 404


def test_wait_shows_lines_where_there_is_no_terminal_and_returns_the_sweep(
    client: Client, database: Database, new_sweep: NewSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = client.sweep(new_sweep().id)
    ending = threading.Timer(0.1, end, (database, sweep.id, "succeeded"))
    ending.start()
    assert sweep.wait(interval=0.02).state == sweep.state == "succeeded"
    ending.join()
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", len(re.findall(rf"{sweep.id}  \w+, \d/4 trials", shown.err)))
    assert f"{sweep.id}  succeeded, 4/4 trials" in shown.err
    assert sweep.wait(progress=False) is not None
    assert capsys.readouterr().err == ""


def test_wait_raises_for_a_failed_sweep_and_for_one_that_takes_too_long(
    client: Client, database: Database, new_sweep: NewSweep
) -> None:
    failed, endless = client.sweep(new_sweep().id), client.sweep(new_sweep().id)
    end(database, failed.id, "failed", "no node has a GPU")
    with pytest.raises(SweepFailed, match=f"the sweep {failed.id} has failed: no node has a GPU") as caught:
        failed.wait(progress=False)
    assert caught.value.sweep.reason == failed.reason == "no node has a GPU"
    assert failed.wait(progress=False, check=False).state == "failed"
    with pytest.raises(TimeoutError, match=f"{endless.id} has not ended within 0 s; it goes on"):
        endless.wait(progress=False, timeout=0)
    ending = threading.Timer(0.05, end, (database, endless.id, "succeeded"))
    ending.start()
    assert endless.wait(progress=False, timeout=0.5, interval=60).state == "succeeded", "the last look is at the end"
    ending.join()


def test_ctrl_c_leaves_the_sweep_as_it_is(base_url: str, new_sweep: NewSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with Client(base_url) as client:
        sweep = client.sweep(new_sweep().id)
        monkeypatch.setattr(ProgressDisplay, "update", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sweep.wait()
        assert sweep.refresh().state == "queued"


def test_a_terminal_gets_a_bar(base_url: str, database: Database, running: Running) -> None:
    sweep, made = running
    fill(database, sweep, made)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with Client(base_url) as client, ProgressDisplay(console=console) as display:
        display.update(client.sweep(sweep.id))
    assert f"{sweep.id} running, 2/4 trials, best 0.2 ━" in screen.getvalue()
    with Client(base_url) as client, ProgressDisplay(False, console) as display:
        screen.truncate(screen.seek(0))
        display.update(client.sweep(sweep.id))
    assert screen.getvalue() == ""


def test_a_notebook_gets_a_bar_that_is_replaced(
    base_url: str, database: Database, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, made = running
    outputs: list[str] = []

    class Output:
        def update(self, html: str) -> None:
            outputs[-1] = html

    def display(html: str, display_id: bool) -> Output:
        outputs.append(html)
        return Output()

    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(HTML=str, display=display))
    with Client(base_url) as client, ProgressDisplay(console=Console(force_jupyter=True)) as shown:
        shown.update(client.sweep(sweep.id))
        fill(database, sweep, made)
        shown.update(client.sweep(sweep.id))
    (html,) = outputs
    assert html.startswith(f"<div>{sweep.id} <progress value=")
    assert "running, 2/4 trials" in html
    assert "best val/loss 0.2" in html


def test_sweeps_and_trials_show_themselves(client: Client, database: Database, document: dict[str, Any]) -> None:
    sweep = client.submit(document | {"name": "<b>"})
    assert repr(sweep) == f"<sweep {sweep.id} '<b>': queued, 0/4 trials, 0/400 steps>"
    assert "&lt;b&gt;" in sweep._repr_html_()
    assert "<progress" in sweep._repr_html_()
    with database.write() as session:
        row = sweeps.move(session, sweep.id, "running")
        (made,) = trials.create(session, row, 0, [{"model.margin": 0.1}])
        trials.get(session, made.id).objective = 0.25
    (trial,) = sweep.trials()
    assert repr(trial) == f"<trial {trial.id}: waiting, step 0, objective 0.25, model.margin=0.1>"
    assert "<td>model.margin</td><td>0.1</td>" in trial._repr_html_()
    assert "best val/loss 0.25" in repr(sweep.refresh())


def test_events_come_with_times_and_end_with_the_sweep(client: Client, database: Database, new_sweep: NewSweep) -> None:
    sweep = client.sweep(new_sweep().id)
    end(database, sweep.id, "failed")
    found = list(sweep.events())
    assert [(event.seq, event.kind) for event in found] == [(1, "sweep.queued"), (2, "sweep.failed")]
    assert found[0].at.tzinfo is UTC


def test_every_result_is_the_document_that_the_api_describes(
    client: Client, base_url: str, database: Database, running: Running, document: dict[str, Any]
) -> None:
    sweep, made = running
    fill(database, sweep, made)
    schema = create_app(ApiSettings(database_url="sqlite:///unused.db")).openapi()
    found, trial = client.sweep(sweep.id), client.trial(made[1].id)

    def described(method: str, path: str, status: str, noun: str = "") -> str:
        answer = schema["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]
        if noun:
            page = schema["components"]["schemas"][answer["$ref"].rpartition("/")[2]]
            answer = page["properties"][noun]["items"]
        return str(answer.get("items", answer)["$ref"].rpartition("/")[2])

    def names(result: Any) -> set[str]:
        return {kind.__name__ for kind in type(getattr(result, "subject", result)).__mro__}

    at_sweep, at_trial = "/v1/sweeps/{sweep_id}", "/v1/trials/{trial_id}"
    for result, call in (
        (client.submit(document), ("post", "/v1/sweeps", "202")),
        (found, ("get", at_sweep, "200")),
        (found.pause(), ("post", f"{at_sweep}/{{verb}}", "202")),
        (found.resume(), ("post", f"{at_sweep}/{{verb}}", "202")),
        (found.change(priority=1), ("patch", at_sweep, "202")),
        (found.rerun(), ("post", f"{at_sweep}/rerun", "202")),
        (found.extend(space={"model.margin": [0.3]}), ("post", f"{at_sweep}/extend", "202")),
        (found.report(sorted(PARTS), trial=1), ("get", f"{at_sweep}/report", "200")),
        (client.tasks()[0], ("get", "/v1/tasks", "200")),
        (client.samplers()[0], ("get", "/v1/samplers", "200")),
        (client.pruning_rules()[0], ("get", "/v1/early-stopping", "200")),
        (client.cluster(), ("get", "/v1/cluster", "200")),
        (next(iter(client.sweeps())), ("get", "/v1/sweeps", "200", "sweeps")),
        (next(iter(found.trials())), ("get", f"{at_sweep}/trials", "200", "trials")),
        (next(iter(found.points())), ("get", f"{at_sweep}/points", "200", "points")),
        (found.compare([0, 1]), ("get", f"{at_sweep}/compare", "200")),
        (trial, ("get", at_trial, "200")),
        (trial.metrics(), ("get", f"{at_trial}/metrics", "200")),
        (trial.logs(), ("get", f"{at_trial}/logs", "200")),
        (trial.compare(made[0].id), ("get", f"{at_trial}/compare", "200")),
        (trial.stop(), ("post", f"{at_trial}/{{verb}}", "202")),
    ):
        assert described(*call) in names(result), call
    # the compiled answer of a dry run
    assert described("post", "/v1/sweeps/validate", "200") in names(client.validate(document))


def test_the_catalogue_and_the_cluster_are_read(client: Client, running: Running) -> None:
    tasks = {task.name: task for task in client.tasks()}
    assert tasks["digits"].metrics["accuracy"] == "maximize"
    assert "length" in tasks["adding"].json_schema["properties"]
    assert {sampler.name: sampler.takes_trials for sampler in client.samplers()}["random"]
    assert "asha" in [rule.name for rule in client.pruning_rules()]
    cluster = client.cluster()
    assert cluster.parts["database"].healthy
    assert cluster.queue.waiting_trials == len(running[1])


def test_words_of_a_newer_service_are_kept(base_url: str, running: Running, document: dict[str, Any]) -> None:
    with RestClient(base_url) as rest:
        sweep, dry_run = rest.sweep(running[0].id), rest.validate(document)
        sweep["state"] = sweep["trials"]["total"] = "hibernating"
        with pytest.raises(ApiError, match=r"trials.total: Input should be a valid integer"):
            SweepHandle.of(rest, sweep)
        sweep["trials"]["total"] = 4
        shown = repr(SweepHandle.of(rest, sweep))
        assert shown == f"<sweep {sweep['id']} 'margins': hibernating, 0/4 trials, 0/400 steps>"
        assert not SweepHandle.of(rest, sweep).has_ended
        assert SweepHandle.of(rest, sweep | {"ended_at": sweep["created_at"]}).has_ended, "wait returns such a sweep"
    dry_run["estimate"]["reasons"][-1]["about"] = "disk"
    assert read(DryRun, dry_run).estimate.reasons[-1].about == "disk"


def test_fields_of_a_newer_service_are_ignored_and_missing_ones_named(
    base_url: str, running: Running, database: Database
) -> None:
    sweep, made = running
    fill(database, sweep, made)

    def newer(part: Any) -> Any:
        if isinstance(part, list):
            return [newer(one) for one in part]
        return {**{k: newer(v) for k, v in part.items()}, "later": "x"} if isinstance(part, dict) else part

    with RestClient(base_url) as rest:
        answer = rest.sweep(sweep.id)
        read, own = SweepHandle.of(rest, newer(answer)), SweepHandle.of(rest, answer)
    assert read.best is not None
    assert (read.created_at, read.best.objective, read.counts) == (
        own.created_at,
        own.best and own.best.objective,
        own.counts,
    )
    answer.pop("progress")
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=answer))
    with (
        Client("http://far.example", transport=transport) as client,
        pytest.raises(ApiError, match="progress: Field req"),
    ):
        client.sweep(sweep.id)
