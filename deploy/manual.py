"""``python deploy/manual.py``: build the documentation as a site, in build/site, where the API of a clone finds it.

A wheel gets the same site, as ``service/api/site``: pyproject.toml names ``BuildWithManual`` for that. It builds the
site if this Python has mkdocs and what the pages of reference are made from. In a build environment of pip, which has
neither, it takes build/site if that is there: ``make wheel`` builds a wheel that has the site for certain.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "build" / "site"
IN_THE_WHEEL = Path("service", "api", "site")


def build(folder: Path) -> bool:
    """Build the site into a folder, which is replaced, and return whether it was built.

    mkdocs prints what is wrong on standard error.
    """
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


class BuildWithManual(build_py):
    """The step of setuptools that collects a wheel's packages, and then adds the site to them."""

    def run(self) -> None:
        """Collect the packages; an editable installation has the site of its clone, so it gets no copy."""
        super().run()
        if self.editable_mode:
            return
        folder = Path(self.build_lib).resolve() / IN_THE_WHEEL
        if find_spec("mkdocs") is not None and build(folder):
            return
        shutil.rmtree(folder, ignore_errors=True)
        if (SITE / "index.html").is_file():
            shutil.copytree(SITE, folder)
        else:
            print("This wheel has no manual. To have one in it, build the wheel with: make wheel", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(not build(SITE))
