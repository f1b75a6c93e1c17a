"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, and has what the code has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.main import app
from service.client import Client
from workers.spec.model import ModelSpec
from workers.tasks import TASKS

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder


def test_no_page_loads_anything_from_another_server(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"', page.read_text())
        assert not [one for found in loaded for one in found if one.startswith(("http:", "https:", "//"))], page


def test_the_reference_has_every_field_call_command_and_method(site: Path) -> None:
    fields = (site / "reference" / "sweep.html").read_text()
    assert all(f"<code>{name}</code>" in fields for name in [*ModelSpec.model_fields, *TASKS])
    commands = (site / "reference" / "cli.html").read_text()
    assert all(
        f"<code>spectral {command.name or command.callback.__name__}" in commands.replace("-", "_")
        for command in app.registered_commands
        if command.callback
    )
    client = (site / "reference" / "client.html").read_text()
    assert all(f"<code>{name}(" in client for name in vars(Client) if not name.startswith("_"))
    calls = re.sub(r"</?(?:span|a)\b[^>]*>", "", (site / "reference" / "rest.html").read_text())
    assert "<code>POST /v1/sweeps</code>" in calls
    assert "curl -s -X POST http://127.0.0.1:8000/v1/sweeps" in calls
