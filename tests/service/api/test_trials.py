"""One trial over HTTP: its metrics, checkpoints, model, logs and verbs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from service.api import trial_logs
from service.states import TrialState
from service.store import attempts, outbox, pack_lines, packs, projections, sweeps, trials
from service.store.database import Database
from service.store.tables import Sweep, Trial, TrialCheckpoint, TrialReport
from workers.protocol import OutputLine

BACKENDS = ["sqlite", "postgresql"]
Running = tuple[Sweep, list[Trial]]


@pytest.fixture
def trial(running: Running) -> Trial:
    return running[1][0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trial_and_its_metrics(backend: str, api: httpx.Client, database: Database, trial: Trial) -> None:
    with database.write() as session:
        for step in (20, 10, 30):
            values = {"train/loss": 1 / step, "val/loss": 2 / step} if step > 10 else {"train/loss": 0.1}
            session.add(TrialReport(trial_id=trial.id, step=step, values=values, at=1.5))
    shown = api.get(f"/v1/trials/{trial.id}").json()
    assert (shown["id"], shown["number"], shown["state"]) == (trial.id, 0, "waiting")
    found = api.get(shown["links"]["metrics"]).json()
    assert found["keys"] == ["train/loss", "val/loss"]
    assert [point["step"] for point in found["points"]] == [10, 20, 30]
    only = api.get(shown["links"]["metrics"], params={"keys": "val/loss", "after": 20}).json()
    assert only["points"] == [{"step": 30, "at": "1970-01-01T00:00:01.500Z", "values": {"val/loss": 2 / 30}}]


def test_points_are_spread_over_all_reports(api: httpx.Client, database: Database, trial: Trial) -> None:
    steps = range(1, 12_001)
    with database.write() as session:
        for step in steps:
            # a validation every 7 steps, a test at the end alone
            values = {"train/loss": 1 / step} | ({"val/loss": 2 / step} if step % 7 == 0 else {})
            values |= {"test/loss": 3.0} if step == len(steps) else {}
            session.add(TrialReport(trial_id=trial.id, step=step, values=values, at=1.5))
    path = f"/v1/trials/{trial.id}/metrics"
    assert len(api.get(path).json()["points"]) == 10_000
    found = api.get(path, params={"points": 50}).json()
    assert found["keys"] == ["test/loss", "train/loss", "val/loss"]
    shown = [point["step"] for point in found["points"]]
    assert (shown[0], shown[-1]) == (1, 12_000)
    assert shown == sorted(set(shown))
    for name, often in (("train/loss", 1), ("val/loss", 7)):
        own = [point["step"] for point in found["points"] if name in point["values"]]
        assert 25 <= len(own) <= 103, name
        assert (own[0], own[-1]) in ((often, 12_000), (often, 11_998))
        assert max(b - a for a, b in pairwise(own)) <= 12_000 / 20
    after = api.get(path, params={"points": 50, "after": 11_000, "keys": "val/loss"}).json()["points"]
    assert (after[0]["step"], after[-1]["step"]) == (11_004, 11_998)
    assert all(list(point["values"]) == ["val/loss"] for point in after)
    curves = api.get(f"/v1/sweeps/{trial.sweep_id}/curves", params={"trials": 0, "metric": "train/loss"}).json()
    assert "test/loss" in curves["metrics"], "what is reported at the end alone can be chosen"


@pytest.mark.parametrize("path", ["", "/metrics", "/checkpoint", "/model", "/logs", "/checkpoint?download=1"])
def test_an_unknown_trial_is_named(api: httpx.Client, path: str) -> None:
    answer = api.get(f"/v1/trials/sw0123456789-0007{path}")
    assert answer.status_code == 404
    assert "sw0123456789-0007" in answer.json()["detail"]


@pytest.mark.parametrize("id", ["..%2F..%2Fetc%2Fpasswd", "%00", "sw0123456789-00%00", "x" * 3000, "%ED%A0%80"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_impossible_id_is_not_found(backend: str, api: httpx.Client, id: str) -> None:
    for path in ("", "/checkpoint?download=1"):
        assert api.get(f"/v1/trials/{id}{path}").status_code == 404


def folder(root: Path, step: int, content: bytes) -> str:
    path = root / f"step-{step:09d}"
    path.mkdir()
    (path / "model.safetensors").write_bytes(content)
    (path / "optimizer.safetensors").write_bytes(b"not this one")
    return str(path)


def test_checkpoints_and_their_download(api: httpx.Client, database: Database, trial: Trial, tmp_path: Path) -> None:
    path = f"/v1/trials/{trial.id}/checkpoint"
    assert api.get(path).json() == {"trial_id": trial.id, "last": None, "best": None}
    missing = api.get(path, params={"download": 1})
    assert (missing.status_code, missing.json()["detail"]) == (
        404,
        f"there is no best checkpoint of trial '{trial.id}' yet",
    )
    with database.write() as session:
        for step, best in ((10, True), (20, True), (30, False)):
            where = folder(tmp_path, step, b"tensors of %d" % step)
            session.add(
                TrialCheckpoint(trial_id=trial.id, step=step, path=where, best=best, objective=1 / step, at=2.0)
            )
    found = api.get(path).json()
    assert (found["last"]["step"], found["best"]["step"], found["best"]["objective"]) == (30, 20, 1 / 20)
    for which, content in (("best", b"tensors of 20"), ("last", b"tensors of 30")):
        answer = api.get(found[which]["download"])
        assert (answer.status_code, answer.content) == (200, content)
        assert f"{trial.id}-step-{content[-2:].decode()}.safetensors" in answer.headers["content-disposition"]


@pytest.mark.parametrize("where", ["/nowhere/at/all", "s3://bucket/step-1", "/etc/passwd"])
def test_what_cannot_be_read_here_is_not_downloaded(
    api: httpx.Client, database: Database, trial: Trial, where: str
) -> None:
    with database.write() as session:
        session.add(TrialCheckpoint(trial_id=trial.id, step=1, path=where, best=True, objective=None))
    answer = api.get(f"/v1/trials/{trial.id}/checkpoint?which=best&download=1")
    assert answer.status_code == 404
    assert where in answer.json()["detail"]


@pytest.mark.parametrize("removed", ["step-000000020/model.safetensors", "step-000000020", "."])
def test_a_checkpoint_that_was_removed_is_gone(
    api: httpx.Client, database: Database, trial: Trial, tmp_path: Path, removed: str
) -> None:
    own = tmp_path / "store" / trial.sweep_id / trial.id
    own.mkdir(parents=True)
    with database.write() as session:
        path = folder(own, 20, b"tensors")
        session.add(TrialCheckpoint(trial_id=trial.id, step=20, path=path, best=True, objective=0.5))
    shown = api.get(f"/v1/trials/{trial.id}/checkpoint").json()["best"]
    assert shown["missing"] is None
    shutil.rmtree(own / removed) if (own / removed).is_dir() else (own / removed).unlink()
    shown = api.get(f"/v1/trials/{trial.id}/checkpoint").json()["best"]
    assert (shown["step"], shown["path"]) == (20, path)
    answer = api.get(shown["download"])
    assert (answer.status_code, answer.json()["title"]) == (410, "Removed")
    assert shown["missing"].startswith(f"{path} or a file in it was removed")
    assert shown["missing"] in answer.json()["detail"]
    assert trial.id in answer.json()["detail"]
    shutil.rmtree(tmp_path / "store")  # now it may as well lie on another machine
    answer = api.get(shown["download"])
    assert answer.status_code == 404
    assert "removed or is not mounted" in answer.json()["detail"]


def test_a_model_that_mlflow_lacks_has_a_reason(
    api: httpx.Client, database: Database, trial: Trial, with_model: Callable[[str], None]
) -> None:
    with_model(trial.id)
    path, sweep = f"/v1/trials/{trial.id}/model", f"/v1/sweeps/{trial.sweep_id}"
    assert api.get(sweep).json()["mlflow_lacks"] == {}
    with database.write() as session:
        projections.mark_deleted(session, [trial.id])
    answer = api.get(path)
    assert answer.status_code == 404
    assert "its run run0 was deleted in MLflow; restore it there" in answer.json()["detail"]
    with database.write() as session:
        projections.mark_deleted(session, [trial.id], deleted=False)
        projections.note_lack(session, trial.id, "its model was not logged: the disk was full")
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.json()["detail"].endswith("in MLflow: its model was not logged: the disk was full")
    assert api.get(sweep).json()["mlflow_lacks"] == {trial.id: "its model was not logged: the disk was full"}


def test_how_to_load_the_model(api: httpx.Client, trial: Trial, with_model: Callable[[str], None]) -> None:
    with_model(trial.id)
    model = api.get(f"/v1/trials/{trial.id}/model").json()
    assert model["uri"] in model["snippet"]
    assert model["mlflow_url"] == "http://mlflow:5000/#/experiments/3/runs/run0?workflowType=machine_learning"
    assert "np.zeros((1, 20, 2), np.float32)" in model["snippet"]
    assert '{"lengths": [10]}' in model["snippet"]
    compile(model["snippet"], "snippet", "exec")


@pytest.mark.parametrize("backend", BACKENDS)
def test_there_is_no_model_until_mlflow_has_it(
    backend: str, api: httpx.Client, database: Database, trial: Trial
) -> None:
    def move(state: TrialState) -> None:
        with database.write() as session:
            trials.move(session, trials.get(session, trial.id), state)

    def refusal() -> str:
        answer = api.get(f"/v1/trials/{trial.id}/model")
        assert (answer.status_code, answer.json()["title"]) == (404, "Not found")
        return str(answer.json()["detail"])

    with database.write() as session:
        projections.put(session, trial.id, "3", "run7")
        session.add(TrialCheckpoint(trial_id=trial.id, step=1, path="/x", best=True, objective=None))
    assert "yet: the trial is waiting, and MLflow gets its model when it has succeeded" in refusal()
    move("running")
    assert "yet: the trial is running" in refusal()
    move("succeeded")
    assert "yet: the trial has succeeded, and its model is about to be logged" in refusal()
    with database.write() as session:
        outbox.remove(session, [e.id for e in outbox.oldest(session, 100) if e.trial_id == trial.id])
    assert api.get(f"/v1/trials/{trial.id}/model").status_code == 200
    with database.write() as session:
        outbox.refill(session, trial.sweep_id)
    assert "its model is about to be logged" in refusal()


@pytest.mark.parametrize("state", ["failed", "pruned", "cancelled"])
def test_a_trial_that_has_not_succeeded_has_no_model(
    api: httpx.Client, database: Database, trial: Trial, state: TrialState
) -> None:
    with database.write() as session:
        projections.put(session, trial.id, "3", "run7")
        trials.move(session, trials.get(session, trial.id), "running")
        trials.move(session, trials.get(session, trial.id), state, "for a reason")
        outbox.remove(session, [e.id for e in outbox.oldest(session, 100)])
    answer = api.get(f"/v1/trials/{trial.id}/model")
    assert answer.status_code == 404
    assert f"the trial is {state}, and MLflow gets only models of trials that have succeeded" in answer.json()["detail"]
    assert f"/v1/trials/{trial.id}/checkpoint" in answer.json()["detail"]


def test_the_best_trial_has_a_model_although_it_was_pruned(
    api: httpx.Client, database: Database, running: tuple[Sweep, list[Trial]]
) -> None:
    sweep, made = running
    with database.write() as session:
        for trial, loss in zip(made, (0.3, 0.1, 0.2, 0.4), strict=True):
            row = trials.get(session, trial.id)
            row.objective = loss
            projections.put(session, trial.id, "3", f"run{trial.number}")
            trials.move(session, row, "running")
            trials.move(session, row, "pruned")
        projections.put(session, sweep.id, "3", "parent")

    def statuses() -> list[int]:
        return [api.get(f"/v1/trials/{trial.id}/model").status_code for trial in made]

    def forget() -> None:
        with database.write() as session:
            outbox.remove(session, [entry.id for entry in outbox.oldest(session, 1000)])

    forget()
    assert statuses() == [404] * 4, "the sweep has not ended"
    with database.write() as session:
        sweeps.move(session, sweep.id, "succeeded")
    assert statuses() == [404] * 4, "MLflow has not been told"
    forget()
    assert statuses() == [404, 200, 404, 404]
    assert "runs:/run1/model" in api.get(f"/v1/trials/{made[1].id}/model").json()["snippet"]
    with database.write() as session:
        projections.note_lack(session, sweep.id, "its best model is not in the model registry")
    assert statuses() == [404] * 4


def test_how_to_load_a_model_of_tokens(
    api: httpx.Client, database: Database, new_sweep: Callable[..., Sweep], with_model: Callable[[str], None]
) -> None:
    sweep = new_sweep(task={"name": "ptb_char", "length": 30}, space={"training.seed": [0]})
    with database.write() as session:
        (trial,) = trials.create(session, sweeps.get(session, sweep.id), 0, [{"training.seed": 0}])
        name = trial.id
    with_model(name)
    snippet = api.get(f"/v1/trials/{name}/model").json()["snippet"]
    assert "np.zeros((1, 30), np.int64)" in snippet
    compile(snippet, "snippet", "exec")


@pytest.mark.parametrize("backend", BACKENDS)
def test_logs_tell_attempts_and_events_with_reasons(
    backend: str, api: httpx.Client, database: Database, trial: Trial
) -> None:
    with database.write() as session:
        row = trials.get(session, trial.id)
        pack = packs.plan(session, [row], 1.0, 0.0, term=1)
        trials.move(session, row, "running")
        attempts.end(attempts.open_of_pack(session, pack.id)[trial.id], "lost", "process", "its node went away")
        trials.move(session, row, "failed", "its node went away")
    logs = api.get(f"/v1/trials/{trial.id}/logs").json()
    assert (logs["state"], logs["reason"]) == ("failed", "its node went away")
    (attempt,) = logs["attempts"]
    assert (attempt["outcome"], attempt["cause"], attempt["reason"]) == ("lost", "process", "its node went away")
    assert [event["kind"] for event in logs["events"]] == ["trial.running", "trial.failed"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_worker_prints_is_read_page_by_page_and_as_text(
    backend: str, api: httpx.Client, database: Database, trial: Trial
) -> None:
    path = f"/v1/trials/{trial.id}/logs"
    lines = [
        OutputLine(seq=1, at=1_795_600_000.25, stream="stdout", text="hello"),
        OutputLine(seq=2, at=1_795_600_001.0, stream="log", level="WARNING", text="memory is short", trial_id=trial.id),
        OutputLine(seq=3, at=1_795_600_001.0, stream="log", level="INFO", text="another", trial_id="other"),
        OutputLine(seq=4, at=1_795_600_002.0, stream="stderr", text="<b>bye</b>"),
    ]
    with database.write() as session:
        row = trials.get(session, trial.id)
        pack = packs.plan(session, [row], 1.0, 0.0, term=1)
        trials.move(session, row, "running")
        pack_lines.add(session, pack.id, lines)
    whole = api.get(path).json()
    assert [line["id"] for line in whole["lines"]] == ["1-1", "1-2", "1-4"]
    assert whole["lines"][1] == {
        "id": "1-2",
        "at": "2026-11-25T09:46:41.000Z",
        "attempt": 1,
        "stream": "log",
        "level": "WARNING",
        "text": "memory is short",
    }
    assert (whole["more_lines"], len(whole["attempts"]), len(whole["events"])) == (False, 1, 1)
    first = api.get(path, params={"limit": 2, "only": "output"}).json()
    assert (len(first["lines"]), first["more_lines"], first["attempts"], first["events"]) == (2, True, [], [])
    rest = api.get(path, params={"after": "1-2", "events_after": whole["events"][-1]["seq"]}).json()
    assert ([line["text"] for line in rest["lines"]], rest["more_lines"]) == (["<b>bye</b>"], False)
    assert (rest["events"], len(rest["attempts"])) == ([], 1)
    history = api.get(path, params={"only": "history"}).json()
    assert (history["lines"], history["attempts"], history["events"]) == ([], whole["attempts"], whole["events"])
    for text in (api.get(path, params={"format": "text"}), api.get(path, headers={"Accept": "text/plain"})):
        assert text.headers["content-type"].startswith("text/plain")
        assert text.text == (
            "2026-11-25T09:46:40.250Z stdout hello\n"
            "2026-11-25T09:46:41.000Z WARNING memory is short\n"
            "2026-11-25T09:46:42.000Z stderr <b>bye</b>\n"
        )
    assert api.get(path, params={"format": "text", "after": "1-4"}).text == ""
    refused = api.get(path, params={"after": "the last one"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "after")
    assert api.get(f"/v1/trials/{trial.sweep_id}-9999/logs", params={"format": "text"}).status_code == 404


def test_a_long_output_is_text_in_pieces_and_whole(
    api: httpx.Client, database: Database, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_logs, "LINES", 3)
    with database.write() as session:
        pack = packs.plan(session, [trials.get(session, trial.id)], 1.0, 0.0, term=1)
        lines = [OutputLine(seq=seq, at=float(seq), stream="stdout", text=f"line {seq}") for seq in range(1, 8)]
        pack_lines.add(session, pack.id, lines)
    text = api.get(f"/v1/trials/{trial.id}/logs", params={"format": "text"}).text
    assert [line.split(" ", 2)[2] for line in text.splitlines()] == [line.text for line in lines]


@pytest.mark.parametrize("backend", BACKENDS)
def test_verbs_on_a_trial(backend: str, api: httpx.Client, database: Database, trial: Trial) -> None:
    for verb, wanted in (("stop", "stop"), ("stop", "stop"), ("cancel", "cancel"), ("stop", "cancel")):
        answer = api.post(f"/v1/trials/{trial.id}/{verb}")
        assert (answer.status_code, answer.json()["wanted"]) == (202, wanted)
    with database.write() as session:
        trials.move(session, trials.get(session, trial.id), "cancelled")
    late = api.post(f"/v1/trials/{trial.id}/stop")
    assert late.status_code == 409
    assert "a trial that is cancelled" in late.json()["detail"]
    unknown = api.post(f"/v1/trials/{trial.id}/pause")
    assert unknown.status_code == 422
    assert unknown.json()["errors"][0]["allowed"] == "'stop' or 'cancel'"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/trials/{trial}/metrics?key=val/loss", "one of after, keys, points"),
        ("/v1/trials/{trial}/checkpoint?wich=last", "one of download, which"),
        ("/v1/trials/{trial}?full=1", "no parameter"),
        ("/v1/trials/{trial}/logs?full=1", "one of after, events_after, format, limit, only"),
        ("/v1/sweeps/{sweep}?full=1", "no parameter"),
        ("/v1/sweeps/{sweep}/trials?order=objective", "one of cursor, limit, sort, state"),
        ("/v1/sweeps/{sweep}/events?from=3", "one of after"),
        ("/v1/sweeps/{sweep}/report?full=1", "one of include, trial"),
        ("/v1/sweeps?stat=running", "one of archived, cursor, limit, state, tag"),
        ("/v1/tasks?name=digits", "no parameter"),
        ("/v1/cluster?full=1", "no parameter"),
    ],
)
def test_an_unknown_parameter_is_refused_everywhere(api: httpx.Client, trial: Trial, path: str, allowed: str) -> None:
    answer = api.get(path.format(trial=trial.id, sweep=trial.sweep_id))
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["problem"], error["allowed"]) == ("is not a parameter of this call", allowed)
