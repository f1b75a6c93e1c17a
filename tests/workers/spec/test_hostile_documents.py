"""Hostile documents cost work in proportion to their size. Work is counted in calls of functions, not in time."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from benchmarks.hostile_bodies import BODIES
from service import strict_json
from workers.errors import SpecError
from workers.spec.field_errors import MAX_LETTERS, MAX_SHOWN
from workers.spec.parse import parse_sweep
from workers.spec.resolve_data import fill_swept_fields

SIZE = 40_000


def read(body: bytes, folder: Path) -> list[Any]:
    """Read a body as the service does, and return the errors with which it is refused."""
    try:
        parse_sweep(strict_json.decode(body), folder)
    except (strict_json.NotStrictJson, SpecError) as error:
        return error.errors
    raise AssertionError("the body is accepted")


def calls_of(work: Callable[[], Any]) -> int:
    """Return how many functions, Python's own included, are called meanwhile."""
    count = 0

    def note(_frame: FrameType, event: str, _arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", BODIES)
def test_work_grows_no_faster_than_the_body(name: str, tmp_path: Path) -> None:
    small, large = BODIES[name](SIZE), BODIES[name](4 * SIZE)
    read(small, tmp_path)  # what is read once and kept does not count
    few, many = (calls_of(lambda body=body: read(body, tmp_path)) for body in (small, large))
    assert many <= 4.4 * few + 20_000
    assert many <= 3 * len(large) + 100_000


@pytest.mark.parametrize("name", BODIES)
def test_a_refusal_is_short_however_long_the_body_is(name: str, tmp_path: Path) -> None:
    errors = read(BODIES[name](SIZE), tmp_path)
    assert 0 < len(errors) <= MAX_SHOWN
    for error in errors:
        assert len(error.field) <= MAX_LETTERS
        assert len(str(error.given)) <= MAX_LETTERS
        assert len(str(error)) < 5_000


@pytest.mark.parametrize("name", BODIES)
def test_similar_names_are_looked_for_only_where_they_are_shown(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched, search = [], difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", lambda *a, **k: searched.append(a[0]) or search(*a, **k))
    read(BODIES[name](SIZE), tmp_path)
    assert len(searched) <= 5 * MAX_SHOWN


def test_a_space_of_too_many_fields_is_not_looked_at() -> None:
    document = {"space": {f"model.f{number}": [1] for number in range(100)}}
    assert fill_swept_fields(document, every=True) is document
