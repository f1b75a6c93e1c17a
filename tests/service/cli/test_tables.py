"""Tables in a narrow terminal."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from service.cli import tables


def test_long_names_and_tags_leave_room_for_what_a_sweep_has_reached() -> None:
    row: dict[str, Any] = {
        "id": "sw0123456789",
        "name": "margins [bold]of[/bold] a long name",
        "task": "digits",
        "state": "succeeded",
        "trials": {"total": 12, "waiting": 0, "running": 2},
        "progress": {"done": 5, "total": 10},
        "best_objective": 0.0012345,
        "created_at": datetime.now(UTC).isoformat(),
        "tags": ["a-tag-with-some-thirty-letters", "another-tag"],
        "seconds_left": 200.0,
    }
    shown = io.StringIO()
    for width in (80, 200):
        Console(file=shown, width=width).print(tables.sweeps([row]))
    narrow, wide = (line.split("  ") for line in shown.getvalue().splitlines() if line.startswith("sw"))
    told = ["digits", "succeeded", "10/12", "50%", "0.001234", "about 3.3 min"]
    assert [cell.strip() for cell in narrow if cell.strip()][:8] == ["sw0123456789", "margins…", *told]
    assert row["name"] in wide
    assert "a-tag-with-some-thirty-letters another-tag" in wide
