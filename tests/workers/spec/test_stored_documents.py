"""Sweep documents that earlier releases stored are read, and the same trials are planned from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.spec.expand import plan_trial, points_of
from workers.spec.sweep import SweepSpec

STORED = {
    f"{path.stem} {name}": stored
    for path in sorted((Path(__file__).parents[2] / "data").glob("documents_*.json"))
    for name, stored in json.loads(path.read_text()).items()
}


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return the paths at which ``new`` lacks or changes what is in ``old``. It may hold more than that."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [found for key in old for found in differences(old[key], new.get(key, "missing"), f"{path}.{key}")]
    return [] if old == new else [f"{path}: {old!r} -> {new!r}"]


@pytest.mark.parametrize("name", STORED)
def test_a_stored_document_keeps_its_fields_and_its_trials(name: str) -> None:
    document, points = STORED[name]["document"], STORED[name]["points"]
    spec = SweepSpec.model_validate(document)
    assert differences(document, spec.model_dump(mode="json")) == []
    assert list(points_of(spec)) == points
    for number, point in enumerate(points):
        assert plan_trial(spec, number, point).require_spec().training.steps > 0


def test_documents_of_the_release_that_is_developed_are_among_them() -> None:
    assert any(name.startswith("documents_0_2_0 ") for name in STORED)
