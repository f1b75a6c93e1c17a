"""The environment of the service's processes: what they need, and nothing that is meant for other programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from service import environment, stack
from service.environment import CREDENTIALS, FOREIGN, PASSED, chosen, leave_to_others
from service.settings import ApiSettings
from service.stack import Stack, processes
from service.stack.processes import managed_processes
from tests.hostile_environment import hostile

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "environment.md").read_text()

OTHERS = {
    "MLflow's server": ["MLFLOW_DEFAULT_ARTIFACT_ROOT", "MLFLOW_REGISTRY_STORE_URI", "MLFLOW_BACKEND_STORE_URI"],
    "MLflow's client": ["MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_RUN_ID"],
    "MLflow's secrets": ["MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"],
    "MLflow's options": ["MLFLOW_STATIC_PREFIX", "MLFLOW_UVICORN_OPTS", "MLFLOW_ENABLE_ASYNC_LOGGING"],
    "web servers": ["WEB_CONCURRENCY", "UVICORN_PORT", "UVICORN_WORKERS", "FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS"],
    "Flask": ["FLASK_APP", "FLASK_ENV", "FLASK_DEBUG", "WERKZEUG_RUN_MAIN"],
    "Python": [
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "PYTHONWARNINGS",
        "PYTHONOPTIMIZE",
        "PYTHONINSPECT",
        "PYTHONPYCACHEPREFIX",
    ],
    "another Ray": [
        "RAY_ADDRESS",
        "RAY_NAMESPACE",
        "RAY_TMPDIR",
        "RAY_USE_TLS",
        "RAY_RUNTIME_ENV_HOOK",
        "RAY_REDIS_ADDRESS",
    ],
    "Ray by a proxy": ["RAY_grpc_enable_http_proxy", "grpc_proxy"],
    "databases": ["DATABASE_URL", "PGHOST", "PGOPTIONS", "REDIS_URL", "SQLALCHEMY_WARN_20"],
    "TLS": ["SSLKEYLOGFILE"],
    "notebooks and plots": ["MPLBACKEND", "MATPLOTLIBRC", "JPY_PARENT_PID"],
    "telemetry": ["OTEL_PROPAGATORS", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"],
    "distributed jobs": ["RANK", "WORLD_SIZE", "MASTER_ADDR", "LOCAL_RANK", "SLURM_JOB_ID"],
    "clouds": ["AWS_PROFILE", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_KEY"],
    "terminals": ["FORCE_COLOR", "COLUMNS", "TERM", "NO_COLOR"],
    "servers in general": ["PORT", "HOST", "DEBUG", "ENV", "BASH_ENV"],
}
NEEDED = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "XDG_CACHE_HOME", "CUDA_VISIBLE_DEVICES"]
NEEDED += ["NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"]
NEEDED += ["SPECTRAL_NATIVE_ISA", "SPECTRAL_CACHE_DIR", "TRITON_INTERPRET", "CXX", "https_proxy", "ALL_PROXY"]
NEEDED += ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "RAY_memory_usage_threshold", "PYTORCH_CUDA_ALLOC_CONF"]


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all variables of ``OTHERS``, which are set in this process to a file that does not exist."""
    names = [name for kind in OTHERS.values() for name in kind]
    for name in names:
        monkeypatch.setenv(name, str(tmp_path / "other" / name))
    return names


@pytest.mark.parametrize("names", OTHERS.values(), ids=OTHERS)
def test_the_processes_get_nothing_meant_for_others(
    tmp_path: Path, others: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout):
        own = {name: part.environment[name] for name in names if name in part.environment}
        assert str(tmp_path / "other") not in " ".join(own.values())
        assert set(own) <= {"RAY_AUTH_MODE"}


@pytest.mark.parametrize("name", NEEDED)
def test_the_processes_get_what_they_need(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "given")
    assert all(part.environment[name] == "given" for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout))


@pytest.mark.parametrize("name", ["SPECTRAL_TOKEN", "SPECTRAL_TOKEN_FILE"])
def test_the_processes_never_get_the_token_of_the_user(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("SPECTRAL_PASS_ENV", "SPECTRAL_*")
    for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout):
        assert name not in part.environment


def test_the_processes_do_not_go_by_a_proxy_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout):
        for name in ("no_proxy", "NO_PROXY"):
            assert {"example.org", "127.0.0.1", "localhost"} <= set(part.environment[name].split(","))


def test_pythonpath_has_our_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "others"))
    layout = Stack(tmp_path / "home", 0, 0).layout
    assert {part.environment["PYTHONPATH"] for part in managed_processes(layout)} == {str(ROOT)}
    monkeypatch.setattr("site.getsitepackages", lambda: [str(ROOT)])
    assert not any("PYTHONPATH" in part.environment for part in managed_processes(layout))


@pytest.mark.parametrize("asked", ["A_NAME,B_*,PYTHONPATH", "A_NAME B_* PYTHONPATH", " A_NAME , B_*,, PYTHONPATH "])
def test_users_pass_further_variables_on(tmp_path: Path, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"A_NAME": "1", "B_ONE": "2", "B_TWO": "3", "A_NAMESAKE": "4", "PYTHONPATH": str(tmp_path)}
    for name, value in {**values, "SPECTRAL_PASS_ENV": asked}.items():
        monkeypatch.setenv(name, value)
    for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout):
        assert [part.environment.get(name) for name in values] == ["1", "2", "3", None, f"{ROOT}{os.pathsep}{tmp_path}"]


def test_what_the_stack_sets_cannot_be_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRAL_PASS_ENV", "*")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("SPECTRAL_DATABASE_URL", "sqlite:///elsewhere.db")
    for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout):
        assert part.environment["RAY_AUTH_MODE"] == "token"
        assert part.environment["SPECTRAL_DATABASE_URL"] == f"sqlite:///{tmp_path}/home/spectral.db"


@pytest.mark.parametrize(("passed", "niceness"), [("", "0"), ("RAY_worker_*", "7")])
def test_trainers_have_the_niceness_of_the_service_or_the_one_that_is_passed_on(
    tmp_path: Path, passed: str, niceness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "7")
    monkeypatch.setenv("SPECTRAL_PASS_ENV", passed)
    for part in managed_processes(Stack(tmp_path / "home", 0, 0).layout):
        assert part.environment["RAY_worker_niceness"] == niceness


def test_a_package_that_only_pythonpath_has_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "only_there.py").touch()
    monkeypatch.setattr(processes, "IMPORTED", ("only_there", "ray"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "others"))
    monkeypatch.syspath_prepend(str(tmp_path / "others"))
    assert stack.up(tmp_path / "home", port=0, mlflow_port=0, foreground=False) == 2
    assert capsys.readouterr().err == (
        "spectral up: only_there is not installed; run: pip install 'spectral-rnn-service[all]'. only_there is in a "
        "folder of PYTHONPATH, which the service's processes do not get; to pass it on to them, set "
        "SPECTRAL_PASS_ENV=PYTHONPATH\n"
    )
    monkeypatch.setenv("SPECTRAL_PASS_ENV", "PYTHONPATH")
    processes.require_installed()


def test_another_version_on_pythonpath_does_not_hide_the_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    processes.require_installed()


def test_a_program_started_by_hand_leaves_variables_to_others(others: list[str]) -> None:
    before = {name: os.environ[name] for name in others} | {"PATH": "/bin", "no_proxy": "example.org"}
    after = dict(before)
    leave_to_others(after)
    gone = set(before) - set(after)
    assert {name for name in others if name.startswith(("MLFLOW_", "OTEL_", "UVICORN_"))} - gone == {
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_PASSWORD",
    }
    assert {"WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "RAY_ADDRESS", "MPLBACKEND", "SSLKEYLOGFILE"} <= gone
    assert gone <= set(others)
    assert set(after["NO_PROXY"].split(",")) >= {"example.org", "127.0.0.1"}


@pytest.mark.parametrize(
    "name", ["MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_S3_IGNORE_TLS"]
)
def test_it_keeps_how_it_is_admitted_to_its_mlflow(name: str) -> None:
    environ = {name: "given"}
    leave_to_others(environ)
    assert environ[name] == "given"


def test_it_keeps_what_users_pass_on() -> None:
    environ = {"MLFLOW_WORKSPACE": "ours", "MLFLOW_RUN_ID": "1", "SPECTRAL_PASS_ENV": "MLFLOW_WORKSPACE"}
    leave_to_others(environ)
    assert "MLFLOW_RUN_ID" not in environ
    assert environ["MLFLOW_WORKSPACE"] == chosen(environ)["MLFLOW_WORKSPACE"] == "ours"


@pytest.mark.parametrize("value", ["tcp://10.0.0.1:8000", "tcp://[fd00::1]:80"])
def test_the_port_that_kubernetes_sets_for_a_service_is_no_setting(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECTRAL_PORT", value)
    assert ApiSettings().port == 8000
    monkeypatch.setenv("SPECTRAL_PORT", "10.0.0.1:8000")
    with pytest.raises(ValidationError):
        ApiSettings()


@pytest.mark.slow
def test_the_controller_starts_beside_all_of_them(tmp_path: Path) -> None:
    """What it imports is imported before it reads its settings, one of which is wrong here."""
    environ = os.environ | hostile(tmp_path / "other") | {"PYTHONPATH": str(ROOT), "SPECTRAL_TICK_SECONDS": "soon"}
    command = [sys.executable, "-m", "service.controller"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "SPECTRAL_TICK_SECONDS" in done.stderr
    assert "Traceback" not in done.stderr


def names_in(section: str) -> set[str]:
    text = DOCS.split(f"\n## {section}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (?:[^|]*) \| (.*) \|$", text, re.M)
    return {name for row in rows for name in re.findall(r"`([\w*]+)`", row)}


def test_the_documented_lists_are_the_lists() -> None:
    assert names_in("What the processes of `spectral up` get") == {name for names in PASSED.values() for name in names}
    assert names_in("What every program of ours leaves to others") == {*FOREIGN, *CREDENTIALS}
    assert environment.PASS_VARIABLE in DOCS
