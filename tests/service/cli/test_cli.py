"""The command line as a user meets it: its commands, its start, what runs without a service, its messages."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import service
from service import demo
from tests.service.cli.command_line import spectral

COMMANDS = [
    *(
        "up",
        "demo",
        "submit",
        "watch",
        "ls",
        "show",
        "pause",
        "resume",
        "stop",
        "cancel",
        "change",
        "validate",
        "trial",
        "logs",
        "metrics",
        "compare",
    ),
    *("train", "show-task", "data", "token", "audit", "tasks", "samplers", "init", "open", "export", "report"),
]


def test_help_lists_the_commands() -> None:
    done = spectral("--help")
    assert done.returncode == 0
    assert all(f" {command} " in done.stdout for command in COMMANDS)
    assert "spectral init digits --out sweep.json" in " ".join(done.stdout.split())


def test_the_version_is_that_of_the_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    done = spectral("--version")
    assert (done.returncode, done.stdout) == (0, f"spectral {version('spectral-rnn-service')}\n")
    monkeypatch.setattr("spectral_rnn_service.DISTRIBUTION", "no-such-distribution")
    done = spectral("--version")
    assert (done.returncode, done.stdout) == (0, "spectral unknown (not installed)\n")


def test_a_command_whose_package_is_missing_names_it_and_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['psutil'] = None; from service.cli.main import main; main(['up'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "this command needs the package psutil; install it with: pip install 'spectral-rnn-service[all]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_of_the_demo_is_in_the_package_and_among_the_examples(base_url: str) -> None:
    example = Path(__file__).parents[3] / "examples" / "digits.json"
    assert example.samefile(demo.SWEEP)
    assert demo.SWEEP.is_relative_to(Path(service.__file__).parent)
    assert "\nValid. " in spectral("validate", str(demo.SWEEP), url=base_url).stdout


def test_the_demo_hands_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    asked: list[Any] = []

    def run(document: dict[str, Any], out: Path, **options: Any) -> int:
        asked.append((document["name"], out, options))
        return 1

    monkeypatch.setattr(demo, "run", run)
    done = spectral("demo", "--sweep", file, "--out", str(tmp_path), "--keep", "--port", "8001")
    name = json.loads(Path(file).read_text())["name"]
    assert asked == [(name, tmp_path, {"keep": True, "port": 8001, "mlflow_port": 0})]
    assert done.returncode == 1


def test_show_task_draws_a_sample(tmp_path: Path) -> None:
    out = tmp_path / "copy.png"
    done = spectral("show-task", '{"name": "copy", "length": 5}', "--out", str(out), "--sample", "1")
    assert (done.returncode, done.stdout) == (0, f"{out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")
    wrong = spectral("show-task", "sorting", "--out", str(out))
    assert wrong.returncode == 1
    assert "'sorting' is not a known task" in wrong.stderr


def test_client_commands_load_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'mlflow', 'pydantic', 'sqlalchemy', 'fastapi', 'numpy'}"
    code = (
        "import sys, service.cli.main, service.cli.commands, service.cli.documents, service.client\n"
        f"service.client.RestClient().close(); print(*{heavy} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_a_user_sees_a_message_and_never_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli.main", "submit", str(tmp_path / "none.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"there is no file {tmp_path}/none.json\n"


def test_a_missing_server_ends_in_a_message_that_says_how_to_start_one(file: str) -> None:
    alone = spectral("submit", file)
    assert alone.returncode == 5
    assert "no answer from http://127.0.0.1:1" in alone.stderr
    assert "spectral up" in alone.stderr


def test_a_proxy_that_cannot_be_used_ends_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks4://me:secret@127.0.0.1:9")
    done = spectral("ls", url="http://far.example:8000")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("ALL_PROXY is 'socks4://127.0.0.1:9', which is not the address of a proxy")
    assert "add far.example to NO_PROXY" in line


def test_up_hands_its_options_and_its_exit_code_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from service import stack

    asked: list[dict[str, Any]] = []

    def up(**options: Any) -> int:
        asked.append(options)
        return 2

    monkeypatch.setattr(stack, "up", up)
    done = spectral(
        *(
            "up",
            "--home",
            str(tmp_path),
            "--port",
            "8001",
            "--gpus",
            "0",
            "--auth",
            "tokens",
            "--workers",
            "2",
            "--open",
        )
    )
    ports = {"port": 8001, "mlflow_port": 5000}
    assert asked == [
        {"home": tmp_path, **ports, "cpus": None, "gpus": 0, "auth": "tokens", "workers": 2, "show_page": True}
    ]
    assert done.returncode == 2


def test_train_needs_no_service(tmp_path: Path, document: dict[str, Any]) -> None:
    document["training"] = {"steps": 4, "batch_size": 4}
    document["space"] = {"model.margin": {"values": [0.01, 0.1]}}
    out = tmp_path / "out"
    done = spectral("train", "-", "--out", str(out), text=json.dumps(document))
    assert (done.returncode, done.stderr) == (0, "")
    assert "8/8" in done.stdout
    assert "is not better than the best constant answer, whose loss is 0.1667" in done.stdout
    results = json.loads((out / "results.json").read_text())
    assert [trial["state"] for trial in results["trials"]] == ["succeeded"] * 2
    other = spectral("train", "-", "--out", str(out), text=json.dumps(document | {"name": "other"}))
    assert other.returncode == 2
    assert "holds another sweep" in other.stderr
    file = out / "results.json"
    no_folder = spectral("train", "-", "--out", str(file), text=json.dumps(document))
    message = f"cannot use {file} as the folder for results: File exists; give another --out\n"
    assert (no_folder.returncode, no_folder.stderr) == (2, message)
    wrong = spectral("train", "-", "--out", str(out), text=json.dumps(document | {"task": {"name": "x"}}))
    assert wrong.returncode == 2
    assert "task.name" in wrong.stderr
