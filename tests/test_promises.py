"""The tests that the documentation names, as what holds a promise, exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATHS = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*") if "__pycache__" not in path.parts}
FUNCTION = re.compile(r"^def (test_\w+)", re.M)
FUNCTIONS = {name for path in PATHS if path.endswith(".py") for name in FUNCTION.findall((ROOT / path).read_text())}


@pytest.mark.parametrize("page", ["architecture.md", "promises.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = set(re.findall(r"`((?:tests/)?[\w/]*test_\w+(?:\.py)?|tests/[\w/]+)`", (ROOT / "docs" / page).read_text()))
    assert len(named) > 20
    missing = [name for name in named if name not in FUNCTIONS and not _is_path(name)]
    assert missing == []


def _is_path(name: str) -> bool:
    return any(f"/{path}/".endswith(f"/{name.rstrip('/')}/") for path in PATHS)
