"""What the tests of the command line begin with: plain output of a fixed width, and the file of a sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from service.cli import catalogue_commands, commands, options, report, training, trial_commands


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    for module in (commands, options, report, training, trial_commands, catalogue_commands):
        monkeypatch.setattr(module, "console", Console(highlight=False))


@pytest.fixture
def file(tmp_path: Path, document: dict[str, Any]) -> str:
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(document))
    return str(path)
