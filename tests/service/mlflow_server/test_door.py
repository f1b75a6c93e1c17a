"""MLflow's server changes nothing for pages of other sites, and nothing at all for those without its secret."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service.mlflow_server.conftest import SHARED_SECRET

pytestmark = pytest.mark.xdist_group("mlflow_server")  # its two servers take long to start

API = "/api/2.0/mlflow"
AJAX = "/ajax-api/2.0/mlflow"


@pytest.fixture
def http(open_mlflow: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=open_mlflow, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture
def run_id(http: httpx.Client) -> str:
    return str(http.post(f"{API}/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"])


def stage(http: httpx.Client, run_id: str) -> str:
    return str(http.get(f"{API}/runs/get", params={"run_id": run_id}).json()["run"]["info"]["lifecycle_stage"])


FOREIGN = {
    "another site": {"Origin": "http://evil.example"},
    "a sandboxed page": {"Origin": "null"},
    "another server on this machine": {"Origin": "http://localhost:1"},
    "another site that hides its origin": {"Sec-Fetch-Site": "cross-site"},
    "another port of this machine": {"Sec-Fetch-Site": "same-site"},
    "a name that now leads here": {"Host": "evil.example:5000", "Origin": "http://evil.example:5000"},
    "a name like a private address": {"Host": "10.evil.example", "Origin": "http://10.evil.example"},
}


@pytest.mark.parametrize(("root", "content_type"), [(API, "text/plain"), (AJAX, "application/json")])
@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_page_of_another_site_deletes_no_run(
    http: httpx.Client, run_id: str, headers: dict[str, str], content_type: str, root: str
) -> None:
    body = f'{{"run_id": "{run_id}"}}'
    answer = http.post(f"{root}/runs/delete", content=body, headers=headers | {"Content-Type": content_type})
    assert answer.status_code == 403
    assert stage(http, run_id) == "active"


def test_a_name_like_a_private_address_reads_nothing(http: httpx.Client) -> None:
    answer = http.get(f"{API}/experiments/search", params={"max_results": 1}, headers={"Host": "10.evil.example"})
    assert answer.status_code == 403


def test_its_own_page_and_programs_may_delete(http: httpx.Client, run_id: str) -> None:
    own = {"Origin": str(http.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert http.post(f"{AJAX}/runs/delete", json={"run_id": run_id}, headers=own).status_code == 200
    assert stage(http, run_id) == "deleted"
    assert http.post(f"{API}/runs/restore", json={"run_id": run_id}).status_code == 200
    assert stage(http, run_id) == "active"


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/ajax-api/3.0/mlflow/assistant/config", ("GET", "POST")),
        ("/gateway/x/mlflow/invocations", ("GET", "POST")),
        (f"{AJAX}/gateway-proxy", ("POST",)),
    ],
)
def test_what_would_run_programs_or_call_other_servers_is_not_offered(
    http: httpx.Client, path: str, methods: tuple[str, ...]
) -> None:
    for method in methods:
        answer = http.request(method, path)
        assert (answer.status_code, answer.json()["error_code"]) == (404, "NOT_FOUND")
        assert "is not offered" in answer.json()["message"]


def test_its_page_is_told_that_there_is_no_gateway(http: httpx.Client) -> None:
    """A refusal would be shown to whoever opens a list of runs."""
    answer = http.get(f"{AJAX}/gateway-proxy", params={"gateway_path": "api/2.0/endpoints/"})
    assert (answer.status_code, answer.json()) == (200, {"endpoints": []})


@pytest.mark.parametrize(
    "shown", [None, "Bearer", "Bearer wrong", f"Basic {SHARED_SECRET}", f"Bearer {SHARED_SECRET}x"]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", "/"), ("GET", f"{API}/experiments/search"), ("POST", f"{API}/runs/create"), ("POST", "/graphql")),
        *(("POST", f"{API}/runs/delete"), ("GET", "/get-artifact"), ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x")),
    ],
)
def test_without_the_secret_nothing_is_answered(closed_mlflow: str, method: str, path: str, shown: str | None) -> None:
    headers = {"Authorization": shown} if shown else {}
    answer = httpx.request(method, f"{closed_mlflow}{path}", headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_with_the_secret_it_is_mlflow(closed_mlflow: str) -> None:
    headers = {"Authorization": f"Bearer {SHARED_SECRET}"}
    answer = httpx.post(
        f"{closed_mlflow}{API}/experiments/search", json={"max_results": 5}, headers=headers, trust_env=False
    )
    assert [found["name"] for found in answer.json()["experiments"]] == ["Default"]


def test_it_refuses_to_start_where_others_could_delete_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")
    command = [sys.executable, "-W", "ignore", "-m", "service.mlflow_server", "--host=0.0.0.0", "--port=0"]
    command += [f"--backend-store-uri=sqlite:///{tmp_path / 'mlflow.db'}", "--allowed-hosts=mlflow"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 1
    assert "would listen on 0.0.0.0" in done.stderr
    assert "MLFLOW_TRACKING_TOKEN" in done.stderr
