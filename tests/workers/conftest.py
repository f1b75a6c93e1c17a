"""Fixtures of all tests of the workers: a single thread, and the data directory if one is set."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def data_dir() -> Path:
    given = os.environ.get("SPECTRAL_DATA_DIR")
    if not given:
        pytest.skip("SPECTRAL_DATA_DIR is not set: it names the folder that holds mnist/")
    return Path(given)
