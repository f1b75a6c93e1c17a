"""All SQL is written in ``service/store/``. The import linter cannot see names, so this test reads the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import service

ROOT = Path(service.__file__).parent
STORE = ROOT / "store"
ALLOWED = {"sqlalchemy.orm": {"Session"}, "sqlalchemy.exc": None}
"""What other packages may import from SQLAlchemy; None permits every name."""
STATEMENTS = {
    *("add", "add_all", "delete", "execute", "get", "get_one", "merge", "query", "scalar", "scalars"),
    *("bulk_insert_mappings", "bulk_save_objects", "bulk_update_mappings", "connection", "refresh"),
}
"""The methods of a session that make a statement, read a row by its key, or store or delete one."""


def violations(source: str) -> list[str]:
    """Return the names with which a module could build a statement or an outbox row, or use a session's own methods."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sqlalchemy":
            names = ALLOWED.get(node.module or "", set())
            found += [] if names is None else [alias.name for alias in node.names if alias.name not in names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] == "sqlalchemy"]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "OutboxEntry":
            found.append("OutboxEntry(")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_statement(node.func):
            found.append(f"session.{node.func.attr}(")
    return found


def _is_statement(method: ast.Attribute) -> bool:
    return isinstance(method.value, ast.Name) and method.value.id == "session" and method.attr in STATEMENTS


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy import select",
        "from sqlalchemy import func, text",
        "import sqlalchemy as sa",
        "from sqlalchemy.orm import Session, joinedload",
        "from sqlalchemy.sql import select",
        "rows.append(OutboxEntry(kind='ended'))",
        "session.get_one(Pack, pack.id).state = 'started'",
        "sweep = session.get(Sweep, sweep_id)",
        "rows = list(session.scalars(query))",
        "count = session.scalar(query) or 0",
        "session.execute(statement)",
        "session.add(pack)",
        "session.delete(pack)",
    ],
)
def test_what_is_refused(source: str) -> None:
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "from sqlalchemy.orm import Session\nfrom sqlalchemy.exc import SQLAlchemyError",
        "sweep = sweeps.get(session, sweep_id)",
        "session.flush()",
    ],
)
def test_what_is_permitted(source: str) -> None:
    assert violations(source) == []


def test_statements_and_outbox_rows_are_made_in_the_store_alone() -> None:
    modules = [path for path in ROOT.rglob("*.py") if STORE not in path.parents]
    assert len(modules) > 50
    found = {str(path.relative_to(ROOT)): violations(path.read_text()) for path in modules}
    assert {path: names for path, names in found.items() if names} == {}


def test_outbox_rows_are_made_in_one_module() -> None:
    makers = {path.name for path in STORE.rglob("*.py") if "OutboxEntry(" in violations(path.read_text())}
    assert makers == {"outbox.py"}
