"""Tests that share what takes long to start run in one process, when several run tests side by side."""

from __future__ import annotations

import pytest


def test_groups_are_kept_together(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("loadgroup", default=False):
        pytest.skip("tests are not distributed by their groups here")
    grouped = [item for item in request.session.items if item.get_closest_marker("xdist_group")]
    if not grouped:
        pytest.skip("none of the tests that run has a group")
    assert all("@" in item.nodeid for item in grouped), "pytest-xdist ignores groups with this version of pytest"
