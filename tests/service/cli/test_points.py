"""Sweeps with repeats on the command line: numbers of points and seeds, the table of points, and comparisons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from service.cli import point_commands
from tests.service.api.test_points import repeated
from tests.service.cli.command_line import spectral

__all__ = ["repeated"]


@pytest.fixture(autouse=True)
def wide(plain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(point_commands, "console", Console(highlight=False))


def test_points_are_shown_and_compared(base_url: str, repeated: Any) -> None:
    sweep = repeated()
    shown = spectral("show", sweep.id, url=base_url).stdout
    assert "best point: 2  val/loss = 0.21, sd 0.01 of 3  margin=0.05" in shown
    assert "best:   val/loss = 0.2  margin=0.05 seed=0" in shown
    rows = [line.split() for line in shown.splitlines()]
    assert ["2", "0.21", "3", "0.01", "0.185159", "to", "0.234841", "margin=0.05"] in rows
    assert ["3", "2", "0.0707107", "-0.58531", "to", "0.68531", "margin=0.1", "(trial", "11", "failed)"] in rows
    (listed,) = [line for line in spectral("ls", url=base_url).stdout.splitlines() if sweep.id in line]
    assert "0.21" in listed.split(), "not the best single trial"
    compared = spectral("compare", sweep.id, "2", "0", url=base_url)
    assert compared.returncode == 0
    lines = compared.stdout.splitlines()
    assert lines[:2] == ["point 2: margin=0.05", "point 0: margin=0.01"]
    assert lines[2].startswith("point 2 is better than point 0: difference of val/loss -0.39, 95% interval -0.6136 to")
    alike = spectral("compare", sweep.id, "1", "2", "3", url=base_url).stdout
    assert "point 1 and point 2 are not told apart: difference of val/loss +0.09" in alike
    assert "2 seeds (point 3 has no result: trial 11 failed)" in alike
    assert spectral("compare", sweep.id, "1", url=base_url).returncode == 2
    found = json.loads(spectral("compare", sweep.id, "2", "0", "--json", url=base_url).stdout)
    assert [pair["verdict"] for pair in found["comparisons"]] == ["better"]


def test_a_report_has_the_points_above_the_trials(base_url: str, repeated: Any) -> None:
    done = spectral("report", repeated().id, url=base_url)
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    head = rows.index(
        ["point", "mean", "val/loss", "n", "sd", "95", "%", "interval", "of", "the", "mean", "parameters"]
    )
    assert rows[head + 1] == ["2", "0.21", "3", "0.01", "0.185159", "to", "0.234841", "margin=0.05"]
    assert [row[0] for row in rows[head + 1 : head + 4]] == ["2", "1", "0"], "point 3 has no result"
    assert rows[head + 4] == ["trial", "state", "step", "best", "val/loss", "parameters"]
    assert "training.seed is left out: it makes repeats." in done.stdout


def test_amounts_are_given_in_points_and_seeds(base_url: str, tmp_path: Path, document: dict[str, Any]) -> None:
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(document | {"repeats": 5}))
    assert "Valid. 4 points x 5 seeds = 20 trials, trained in" in spectral("validate", str(file), url=base_url).stdout
    assert "4 points x 5 seeds = 20 trials, queued" in spectral("submit", str(file), url=base_url).stdout


@pytest.mark.parametrize("count", [1, 9])
def test_without_repeats_trials_are_counted(count: int) -> None:
    from service.cli.point_tables import amount

    assert amount({}, count) == ("1 trial" if count == 1 else "9 trials")
    assert amount({"repeats": 2}, 2 * count).startswith(
        "1 point x 2 seeds" if count == 1 else "9 points x 2 seeds = 18"
    )
