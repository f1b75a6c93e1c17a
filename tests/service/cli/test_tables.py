"""Tables in a narrow terminal: what is left out is said, and what matters most is whole."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from service.cli import output, point_tables, tables, watching
from service.client import RestClient


def lines_of(table: Any, width: int) -> list[str]:
    screen = io.StringIO()
    Console(file=screen, width=width).print(table)
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


def sweep_row(**changes: Any) -> dict[str, Any]:
    return {
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
    } | changes


@pytest.mark.parametrize(
    ("width", "headings", "left_out"),
    [
        (200, "id name task state trials done best left age tags", None),
        (80, "id name state trials done best left age", "task, tags"),
        (60, "id name state trials done best", "task, left, age, tags"),
        (40, "id state done best", "name, task, trials, left, age, tags"),
        (20, "id trials", "name, task, state, done, best, left, age, tags"),
    ],
)
def test_a_list_of_sweeps_leaves_out_what_matters_least(width: int, headings: str, left_out: str | None) -> None:
    head, row, *rest = lines_of(tables.sweeps([sweep_row()]), width)
    assert head.split() == headings.split()
    values = {"id": "sw0123456789", "state": "succeeded", "trials": "10/12", "best": "0.001234", "done": "50%"}
    for heading in headings.split():
        assert values.get(heading, "") in row
    if width == 200:
        assert "margins [bold]of[/bold] a long name" in row
        assert row.endswith("a-tag-with-some-thirty-letters another-tag")
    elif "name" in headings:
        assert "margins" in row
        assert "…" in row
    assert " ".join(rest) == ("" if left_out is None else f"No room for: {left_out}")


def test_trials_are_numbered_where_their_ids_have_no_room() -> None:
    row = {"id": "sw0123456789-0007", "state": "pruned", "step": 40, "objective": 0.5, "reason": "not among the best"}
    row["params"] = {"model.margin": 0.04481, "model.reflectors": 16}
    assert "sw0123456789-0007" in lines_of(tables.trials([row], "val/accuracy"), 120)[-1]
    narrow = lines_of(tables.trials([row], "val/accuracy"), 40)
    assert narrow[2].split() == ["7", "0.5", "margin=0.04481"]
    assert "not among the best" in " ".join(line.strip() for line in narrow[3:-1])
    assert narrow[-1] == "No room for: state, step"


def test_points_keep_their_objective_and_parameters() -> None:
    row = {"number": 3, "objective": 0.858174, "n": 3, "sd": 0.00518352, "interval": (0.84, 0.87), "reason": None}
    table = point_tables.points([row | {"params": {"model.margin": 0.03}}], "val/accuracy")
    head, values = lines_of(table, 100)
    assert head.split() == [
        "point",
        "mean",
        "val/accuracy",
        "n",
        "sd",
        "95",
        "%",
        "interval",
        "of",
        "the",
        "mean",
        "parameters",
    ]
    assert values.split() == ["3", "0.858174", "3", "0.00518352", "0.84", "to", "0.87", "margin=0.03"]
    assert lines_of(table, 38)[2].split() == ["3", "0.858174", "3", "margin=0.03"], "the head has two lines"


@pytest.mark.parametrize("width", [48, 69, 70, 80, 120])
def test_progress_cuts_names_and_neither_states_nor_numbers(width: int) -> None:
    sweep = sweep_row(name="a long name " * 10, progress={"done": 12_345, "total": 123_456})
    screen = io.StringIO()
    terminal = Console(file=screen, width=width, force_terminal=True, color_system=None)
    with RestClient("http://127.0.0.1:1") as client:  # of a sweep that has ended nothing is asked
        assert watching.follow(client, sweep, terminal) is sweep
    line = next(line for line in screen.getvalue().splitlines() if "12345/123456" in line)
    assert "succeeded  a long" in line
    assert "… " in line
    assert "12345/123456 " in line
    assert "about 3.3 min" in line


def test_a_pipe_has_all_columns_unless_a_width_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    pipe = io.StringIO()
    with redirect_stdout(pipe):
        output.console_on(pipe).print(tables.sweeps([sweep_row(name="a long name " * 20)]))
    head, row = pipe.getvalue().splitlines()
    assert head.split() == ["id", "name", "task", "state", "trials", "done", "best", "left", "age", "tags"]
    assert row.rstrip().endswith("another-tag")
    monkeypatch.setenv("COLUMNS", "60")
    assert output.console_on(pipe).width == 60
