"""The documentation as a site: it builds without a warning, loads nothing from elsewhere, and has what the code has.

The fixture ``site`` builds it. ``tests/service/page/test_manual.py`` reads the same site in a browser.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.cli.main import app
from service.client import Client
from workers.spec.model import ModelSpec
from workers.tasks import TASKS

pytestmark = pytest.mark.xdist_group("browser")  # so that the worker that reads the site in a browser builds it, once


def test_no_page_loads_anything_from_another_server_or_has_scripts_and_styles_of_its_own(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"', text)
        assert not [one for found in loaded for one in found if one.startswith(("http:", "https:", "//"))], page
        inline = re.findall(r"<style|<[a-z][^>]* (?:style|on[a-z]+)=|<script(?![^>]*(?: src=|application/json))", text)
        assert not inline, page


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
