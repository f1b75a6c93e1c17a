"""Description of the machine that a record was made on: processor, versions, source and date.

It names no person and no place. It uses the standard library alone, so that benchmarks can run where little is
installed.
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
    """Return the date, source, processor, memory, and versions of Python and of packages, as text by name.

    They are in the order in which they are shown. A package that is not installed, and a GPU that ``nvidia-smi`` does
    not find, are left out.
    """
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
    """Return the short hash of the current commit, with a plus if files in ``folders`` differ from it or are new.

    Where there is no git checkout, or no git, the text says "not a git checkout".
    """
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
    """Return the model name of the processor, or its architecture, such as ``aarch64``, if Linux gives no name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def memory() -> str:
    """Return the memory of the machine as text, in whole GiB: ``16 GiB``."""
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def version(package: str) -> str | None:
    """Return the installed version of a package, or None if it is not installed."""
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
