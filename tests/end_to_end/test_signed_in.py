"""A stack that demands tokens: without one nothing is answered, also not by MLflow; with one everything works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import pytest

from service.client import RestClient
from service.mlflow_server import SECRET
from service.stack import Stack
from tests.end_to_end.small_sweep import SWEEP
from tests.waiting import until

pytest.importorskip("service.access.principal")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    home: Path = tmp_path_factory.mktemp("guarded") / "home"
    with Stack(home, 0, 0, cpus=2, auth="tokens", say=print) as running:
        yield running


@pytest.fixture(scope="module")
def token(guarded: Stack) -> str:
    file = guarded.home.admin_token
    until(file.exists)
    assert file.stat().st_mode & 0o077 == 0
    return file.read_text().strip()


def test_without_a_token_neither_the_api_nor_mlflow_answers(guarded: Stack) -> None:
    for url in (f"{guarded.url}/v1/sweeps", f"{guarded.mlflow_url}/", guarded.layout.mlflow_url):
        assert httpx.get(url, trust_env=False).status_code == 401, url
    delete = "api/2.0/mlflow/runs/delete"
    for url in (f"{guarded.mlflow_url}/{delete}", f"{guarded.layout.mlflow_url}/{delete}"):
        assert httpx.post(url, json={"run_id": "x"}, trust_env=False).status_code == 401, url


def test_a_token_of_a_user_does_not_open_mlflow_itself(guarded: Stack, token: str) -> None:
    shown = {"Authorization": f"Bearer {token}"}
    assert httpx.get(guarded.layout.mlflow_url, headers=shown, trust_env=False).status_code == 401


def test_with_a_token_a_sweep_runs_and_mlflow_shows_it_below_the_api(
    guarded: Stack, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarded.mlflow_url == f"{guarded.url}/mlflow"
    with RestClient(guarded.url, token=token) as client:
        sweep = client.wait(client.submit(SWEEP)["id"])
        assert sweep["state"] == "succeeded", sweep["reason"]
        until(lambda: client.sweep(sweep["id"])["mlflow_url"])
        assert client.sweep(sweep["id"])["mlflow_url"].startswith(f"{guarded.url}/mlflow/#/experiments/")
    monkeypatch.setenv(SECRET, token)
    api = mlflow.MlflowClient(guarded.mlflow_url)
    (experiment,) = [found for found in api.search_experiments() if found.name == f"spectral/{SWEEP['task']['name']}"]
    runs = until(lambda: [r for r in api.search_runs([experiment.experiment_id]) if r.info.status == "FINISHED"])
    assert any(run.data.tags.get("spectral.sweep_id") == sweep["id"] for run in runs)


def test_no_secret_stands_in_a_log(guarded: Stack, token: str) -> None:
    secrets = {token, guarded.home.token.read_text().strip()}
    for log in [*guarded.home.logs.iterdir(), *guarded.home.ray.rglob("*.log"), *guarded.home.ray.rglob("*.out")]:
        text = log.read_text(errors="replace")
        assert not any(secret in text for secret in secrets), log
