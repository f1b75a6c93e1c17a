"""Marks that follow from where a test is, and the environment of the test processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

HERE = Path(__file__).parent

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many processes as cores run already. OpenMP reads this when torch is loaded, here and in every subprocess.
    os.environ["OMP_NUM_THREADS"] = "1"

for name in list(os.environ):
    if name.lower().endswith("_proxy"):  # every test talks to this machine alone
        del os.environ[name]

STARTS_RAY = (
    "end_to_end",
    "faults/test_stack_on_postgresql.py",
    "faults/test_stack_on_sqlite.py",
    "service/controller/test_cluster.py",
    "service/controller/test_reconciler.py",
    "workers/runtime/test_ray_actor.py",
)
"""Folders and files whose tests start Ray or a whole service. ``make test`` runs them alone, after the others."""

SLOW = (
    *STARTS_RAY,
    "service/controller/test_lost_packs.py",
    "service/mlflow_server",
    "service/page/test_live.py",
    "service/page/test_manual.py",
    "service/page/test_many_trials.py",
    "service/page/test_sign_in.py",
    "service/page/test_use.py",
    "service/page/test_views.py",
    "service/tracking",
    "simulation/test_simulation.py",
    "spectral/recurrence",
    "spectral/test_gated.py",
    "study/test_page.py",
    "test_examples.py",
    "test_packaging.py",
    "workers/tasks/test_archives.py",
    "workers/tasks/test_readers_fuzz.py",
    "workers/runtime/test_local_sweep.py",
)
"""Folders and files that ``make test-fast`` leaves out."""


def pytest_configure() -> None:
    """Raise UsageError if a folder or file that is named above has been renamed."""
    missing = [name for name in {*STARTS_RAY, *SLOW} if not (HERE / name).exists()]
    if missing:
        raise pytest.UsageError(f"tests/conftest.py names {missing}, which do not exist")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by the folder or file it is in."""
    if is_in(item.path, STARTS_RAY):
        item.add_marker(pytest.mark.starts_ray)
    if is_in(item.path, SLOW):
        item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation, built as a site without a warning."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=HERE.parent, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return folder


def is_in(path: Path, names: tuple[str, ...]) -> bool:
    """Return whether a test file is one of the files, or in one of the folders."""
    return any(path.is_relative_to(HERE / name) for name in names)
