"""With which code and packages the service runs, as tags of its runs in MLflow."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from spectral_rnn_service import installed_version

PACKAGES = ("torch", "numpy", "ray", "mlflow")
GIT_SECONDS = 5.0
"""How many seconds git may take to say which commit is checked out."""


@cache
def version_tags() -> dict[str, str]:
    """Return tags with the version of the service, its commit if it runs from a clone, and versions of what it uses."""
    found = {"spectral.version": installed_version(), "spectral.python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[f"spectral.{package}"] = version(package)
        except PackageNotFoundError:
            continue
    commit = _commit()
    return found | ({"mlflow.source.git.commit": commit} if commit else {})


def _commit() -> str | None:
    """Return the commit of the clone that this module lies in; None if it was installed, or git does not say."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
