"""The commands that say what a sweep can be made of."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path

import pytest

from service.cli.catalogue_commands import EXAMPLE_OF
from service.store.tables import Sweep, Trial
from tests.service.cli.command_line import spectral
from workers.spec.parse import parse_sweep
from workers.spec.samplers import SAMPLERS
from workers.tasks import TASKS


def test_every_task_is_listed_with_its_fields() -> None:
    listed = spectral("tasks").stdout
    assert all(f"\n{task} " in listed for task in TASKS)
    one = spectral("tasks", "own_data").stdout
    assert "task.file" in one
    assert "(required)" in one
    assert "val/accuracy  maximize" in one
    assert json.loads(spectral("tasks", "copy", "--json").stdout)["metrics"] == {
        "val/loss": "minimize",
        "val/recall": "maximize",
    }


def test_every_sampler_is_listed() -> None:
    assert json.loads(spectral("samplers", "--json").stdout).keys() == SAMPLERS.keys()
    listed = spectral("samplers").stdout
    assert all(f"\n{name} " in listed for name in SAMPLERS)


def test_a_task_that_is_not_there_is_named_with_the_nearest() -> None:
    for command in ("tasks", "init"):
        done = spectral(command, "digit")
        assert (done.returncode, done.stdout) == (2, "")
        assert "there is no task 'digit'; did you mean digits?" in done.stderr


@pytest.mark.parametrize("task", TASKS)
def test_init_gives_a_sweep_of_each_task_that_is_accepted(task: str) -> None:
    assert EXAMPLE_OF.keys() == TASKS.keys()
    document = json.loads(spectral("init", task).stdout)
    assert parse_sweep(document).task.name == task


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    out = tmp_path / "sweep.json"
    done = spectral("init", "copy", "--out", str(out))
    assert f"spectral submit {out}" in done.stdout
    assert parse_sweep(json.loads(out.read_text())).task.name == "copy"
    again = spectral("init", "adding", "--out", str(out))
    assert (again.returncode, again.stderr) == (2, f"{out} exists; give another --out\n")
    assert json.loads(out.read_text())["task"]["name"] == "copy"
    assert "cannot write" in spectral("init", "copy", "--out", str(tmp_path / "no" / "sweep.json")).stderr


def test_open_prints_the_address_and_opens_it(
    base_url: str, running: tuple[Sweep, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    id = running[0].id
    for given, address in (
        ((), base_url),
        (("last",), f"{base_url}/#/sweeps/{id}"),
        (("last-2",), f"{base_url}/#/trials/{id}-0002"),
    ):
        assert spectral("open", *given, url=base_url).stdout == f"{address}\n"
        assert opened.pop() == address
    assert spectral("open").returncode == 5
    assert opened == []


def test_completion_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))  # of the shell that runs the tests
    done = spectral("--show-completion")
    assert done.returncode == 0
    assert "complete_bash" in done.stdout
