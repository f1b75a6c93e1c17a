"""What a record was made on: processor, versions, source, date; nothing that names a person or a place.

The standard library alone, so that benchmarks on a bare machine can say the same of theirs.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "numpy", "ray", "mlflow")
SOURCES = ("spectral", "workers", "service", "study")


def describe() -> dict[str, str]:
    """Name -> value, in the order of showing."""
    found = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "source": commit(*SOURCES),
        "processor": f"{processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": memory(),
        "python": platform.python_version(),
    }
    found |= {name: known for name in PACKAGES if (known := version(name))}
    gpu = _gpu()
    return found | ({"gpu": gpu} if gpu else {})


def commit(*folders: str) -> str:
    """The commit that ran, with a plus where the code of ``folders`` differs from it."""
    try:
        short = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--", *folders)
    except (OSError, subprocess.CalledProcessError):
        return "not a git checkout"
    return short + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def processor() -> str:
    """The name of its model."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def memory() -> str:
    """All of the machine's, in GiB."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _gpu() -> str | None:
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")
    except (OSError, subprocess.CalledProcessError):
        return None
    return found[0].strip() or None
