"""Tests side by side: which of them stay in one process, and how many threads each process computes with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores run already. OpenMP reads this when torch is loaded, here and in every subprocess.
    os.environ["OMP_NUM_THREADS"] = "1"

STARTS_RAY = ("end_to_end", "service/controller/test_reconciler.py", "workers/runtime/test_ray_actor.py")
"""Folders and files whose tests share a Ray cluster. They run one after another, so that only one cluster has work."""

SLOW = ()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests the marks that follow from where they are."""
    for item in items:
        place = item.path.relative_to(HERE) if item.path.is_relative_to(HERE) else item.path
        if any(place.is_relative_to(folder) for folder in STARTS_RAY):
            item.add_marker(pytest.mark.xdist_group("ray"))
