"""Paths of the server are shown to administrators, and to nobody else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.principal import LOCAL, Principal, mark
from service.api.hidden_paths import HiddenPaths, folders_of
from service.settings import ApiSettings
from service.store import sweeps, trials
from service.store.database import Database
from service.store.tables import TrialCheckpoint
from tests.service.access.conftest import NewToken

Call = Callable[..., httpx.Response]


@pytest.fixture
def settings(url: str, tmp_path: Path) -> ApiSettings:
    (tmp_path / "d\u00e4ta").mkdir()
    return ApiSettings(database_url=url, auth="tokens", data_dir=tmp_path / "d\u00e4ta", event_poll_seconds=0.01)


def test_paths_of_data_checkpoints_and_failures_are_hidden(
    call: Call, database: Database, new_token: NewToken, document: dict[str, Any], tmp_path: Path
) -> None:
    ada, root = new_token("ada"), new_token("root", "admin")
    id = call("POST", "/v1/sweeps", ada, json=document).json()["id"]
    with database.write() as session:
        (trial, *_) = trials.create(session, sweeps.get(session, id), 0, [{}])
        trials.move(session, trial, "running")
        trials.move(session, trial, "failed", f"[Errno 28] No space left on device: '{tmp_path}/x/model.safetensors'")
        session.add(TrialCheckpoint(trial_id=trial.id, step=10, path=f"/far/store/{id}/{trial.id}/10", best=True))
    missing = document | {"task": {"name": "own_data", "file": "none.csv", "kind": "regression"}}
    answers = {
        "GET trial": ("GET", f"/v1/trials/{trial.id}", {}),
        "GET logs": ("GET", f"/v1/trials/{trial.id}/logs", {}),
        "GET checkpoint": ("GET", f"/v1/trials/{trial.id}/checkpoint", {}),
        "download": ("GET", f"/v1/trials/{trial.id}/checkpoint?download=1", {}),
        "missing data": ("POST", "/v1/sweeps/validate", {"json": missing}),
    }
    for name, (method, path, options) in answers.items():
        theirs, whole = (call(method, path, token, **options) for token in (ada, root))
        assert theirs.status_code == whole.status_code, name
        for folder in (str(tmp_path), "/far/store"):
            assert folder not in json.dumps(theirs.json(), ensure_ascii=False), name
        assert any(folder in json.dumps(whole.json(), ensure_ascii=False) for folder in (str(tmp_path), "/far/")), name
    assert "'SERVER/x/model.safetensors'" in call("GET", f"/v1/trials/{trial.id}", ada).json()["reason"]
    shown = call("GET", f"/v1/trials/{trial.id}/checkpoint", ada).json()["last"]
    assert shown["path"] == f"{id}/{trial.id}/10"
    assert "none.csv is not in DATA" in call("POST", "/v1/sweeps/validate", ada, json=missing).text


async def answered(app: ASGIApp, principal: Principal) -> tuple[dict[str, str], bytes]:
    scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    mark(scope, principal)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return headers, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.anyio
async def test_lengths_are_right_and_only_text_is_changed() -> None:
    ada, folders = Principal("ada", "submit"), {"/srv/spectral": "SERVER", "/srv/spectral/data": "DATA", "/": "ROOT"}
    text = {"at": "/srv/spectral/data/x.csv", "in": "/srv/spectral", "beside": "/srv/spectral2 /srv/spectral.db"}

    async def parts() -> Any:
        yield b'data: "/srv/spectral/logs"\n\n'

    headers, body = await answered(HiddenPaths(JSONResponse(text), folders), ada)
    assert json.loads(body) == {"at": "DATA/x.csv", "in": "SERVER", "beside": "/srv/spectral2 /srv/spectral.db"}
    assert headers["content-length"] == str(len(body))
    assert json.loads((await answered(HiddenPaths(JSONResponse(text), folders), LOCAL))[1]) == text
    stream = StreamingResponse(parts(), media_type="text/event-stream")
    assert (await answered(HiddenPaths(stream, folders), ada))[1] == b'data: "SERVER/logs"\n\n'
    weights = PlainTextResponse("/srv/spectral", media_type="application/octet-stream")
    assert (await answered(HiddenPaths(weights, folders), ada))[1] == b"/srv/spectral"


def test_the_known_folders_are_those_of_the_settings(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/home/spectral.db"
    settings = ApiSettings(database_url=url, data_dir=tmp_path / "data", checkpoint_dir=tmp_path / "store")
    found = folders_of(settings)
    assert found[str(tmp_path / "home")] == "SERVER"
    assert found[str(tmp_path / "data")] == "DATA"
    assert found[str(tmp_path / "store")] == "CHECKPOINTS"


@pytest.mark.anyio
async def test_a_stream_begins_before_it_has_something_to_say() -> None:
    sent: list[Message] = []

    async def quiet_stream(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        assert [message["type"] for message in sent] == ["http.response.start"]
        await send({"type": "http.response.body", "body": b"data: /secret/place/x\n\n"})

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope: Scope = {"type": "http"}
    mark(scope, Principal("ada", "read", "t", None, None))
    await HiddenPaths(quiet_stream, {"/secret/place": "SERVER"})(scope, receive, send)
    assert sent[-1]["body"] == b"data: SERVER/x\n\n"
