"""MLflow as the API shows it under /mlflow: its page, its client and its files work, and no token passes through."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import psutil
import pytest

from service.api.mlflow_proxy import FILE_POLICY
from service.mlflow_server import SECRET
from service.settings import ApiSettings
from tests.service.conftest import serving
from tests.service.mlflow_server.conftest import SHARED_SECRET
from tests.service.mlflow_server.upstream import Upstream

pytestmark = pytest.mark.xdist_group("mlflow_server")  # its two servers take long to start


@pytest.fixture
def behind_api(closed_mlflow: str, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of MLflow below an API that knows the secret."""
    monkeypatch.setenv(SECRET, SHARED_SECRET)
    with serving(ApiSettings(database_url=url, mlflow_upstream=closed_mlflow)) as address:
        yield f"{address}/mlflow"


@pytest.fixture
def before_upstream(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[httpx.Client, Upstream]]:
    """A client of the API, and in MLflow's place a server that keeps what it gets."""
    monkeypatch.setenv(SECRET, SHARED_SECRET)
    with (
        Upstream() as upstream,
        serving(ApiSettings(database_url=url, mlflow_upstream=upstream.url)) as address,
        httpx.Client(base_url=f"{address}/mlflow", timeout=60, trust_env=False) as http,
    ):
        yield http, upstream


def test_the_page_of_mlflow_loads_all_it_names_from_below_the_path(behind_api: str) -> None:
    with httpx.Client(base_url=behind_api, timeout=60, trust_env=False, follow_redirects=True) as http:
        page = http.get("")
        assert page.url.path == "/mlflow/"
        named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(named) > 2
        for path in named:
            assert not path.startswith(("/", "http"))
            assert http.get(path).status_code == 200, path
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_mlflows_client_works_through_the_path(
    behind_api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET)
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    client = mlflow.MlflowClient(behind_api)
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "loss", 0.5, step=3)
    file = tmp_path / "a file+name.html"
    file.write_text("<script>alert(1)</script>")
    client.log_artifact(run.info.run_id, str(file))
    assert client.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
    assert [found.path for found in client.list_artifacts(run.info.run_id)] == [file.name]
    got = mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path=file.name, dst_path=str(tmp_path / "out"), tracking_uri=behind_api
    )
    assert Path(got).read_text() == file.read_text()
    client.delete_run(run.info.run_id)
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"


def test_mlflow_gets_the_secret_and_nothing_of_who_asks(before_upstream: tuple[httpx.Client, Upstream]) -> None:
    http, upstream = before_upstream
    sent = {"Authorization": "Bearer srs_of_a_user", "Cookie": "session=of-a-user", "X-Forwarded-For": "1.2.3.4"}
    own = str(http.base_url.copy_with(path="/")).rstrip("/")
    sent |= {"Origin": own, "Referer": f"{own}/x", "X-Kept": "yes"}
    answer = http.post("/a%2Fb/c?d=e%20f", json={"g": 1}, headers=sent)
    (got,) = upstream.requests
    assert (got.method, got.target, got.body) == ("POST", "/a%2Fb/c?d=e%20f", b'{"g":1}')
    assert got.headers["Authorization"] == f"Bearer {SHARED_SECRET}"
    assert got.headers["X-Kept"] == "yes"
    assert got.headers["Host"] == upstream.url.removeprefix("http://")
    text = str(got.headers)
    assert not any(word in text for word in ("srs_of_a_user", "of-a-user", "1.2.3.4", own))
    assert "set-cookie" not in answer.headers
    assert SHARED_SECRET not in str(answer.headers) + answer.text


def test_whatever_is_in_a_file_it_runs_no_script_as_our_page(before_upstream: tuple[httpx.Client, Upstream]) -> None:
    http, _ = before_upstream
    answer = http.get("/get-artifact?path=x.html")
    assert answer.headers.get_list("content-security-policy") == [FILE_POLICY]
    assert "sandbox" in FILE_POLICY
    assert answer.headers["content-type"] == "text/html"


@pytest.mark.parametrize("path", ["/mlflow%2F@127.0.0.1:9/x", "/mlflow%2f.example/x", "/mlflow%2F%2Fx"])
def test_an_address_cannot_name_another_server_than_mlflow(
    before_upstream: tuple[httpx.Client, Upstream], path: str
) -> None:
    http, upstream = before_upstream
    api = http.base_url.copy_with(raw_path=path.encode())
    assert http.request("GET", api).status_code == 404
    assert upstream.requests == []


def test_a_redirect_stays_below_the_path(before_upstream: tuple[httpx.Client, Upstream]) -> None:
    http, upstream = before_upstream
    assert http.get("/redirect").headers["location"] == "/mlflow/there"
    assert len(upstream.requests) == 1


def test_a_large_file_passes_through_in_pieces(before_upstream: tuple[httpx.Client, Upstream]) -> None:
    """200 MB down and up: the process, which serves the API in a thread and also reads and writes them, stays small."""
    http, upstream = before_upstream
    process, size = psutil.Process(), 200_000_000
    before, got = process.memory_info().rss, 0
    with http.stream("GET", f"/large?size={size}") as answer:
        for piece in answer.iter_raw():
            got += len(piece)
            assert process.memory_info().rss - before < size / 2
    assert got == size
    http.put("/large", content=(b"\0" * 1_000_000 for _ in range(200)))
    assert upstream.requests[-1].size == size
    assert process.memory_info().rss - before < size / 2


def test_an_mlflow_that_is_away_is_a_problem_document(url: str) -> None:
    with serving(ApiSettings(database_url=url, mlflow_upstream="http://127.0.0.1:9")) as address:
        answer = httpx.get(f"{address}/mlflow/x", trust_env=False)
    assert answer.status_code == 503
    assert answer.json()["title"] == "MLflow unavailable"
    assert "127.0.0.1:9" not in answer.text


def test_without_the_setting_there_is_no_such_path(api: httpx.Client) -> None:
    assert SECRET not in os.environ
    assert api.get("/mlflow/").status_code == 404
