"""``python deploy/blocking_client.py``: write the blocking client, which is the asynchronous one without its waiting.

Each module of ``service/client/asynchronous`` becomes one of ``service/client/blocking``: the words of asynchronous
Python are left out or replaced, and ruff puts the lines in order.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "service/client"
SOURCE, TARGET = FOLDER / "asynchronous", FOLDER / "blocking"
HEADER = "# Written by `make blocking-client` from the module of the same name in service/client/asynchronous.\n"
INIT = '"""The blocking clients, written by `make blocking-client` from `service.client.asynchronous`."""\n'
FIX = ["check", "--select", "I,UP,C416", "--fix", "--unsafe-fixes", "--exit-zero"]
WORDS = (
    (r"\basync (?=def|with|for)", ""),
    (r"\bawait ", ""),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync_http_client\b", "http_client"),
    (r"\b__a(enter|exit|iter)__", r"__\1__"),
    (r"\ba(close|read|iter_lines)\(", r"\1("),
    (r"\baclosing\b", "closing"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bservice\.client\.asynchronous\b", "service.client.blocking"),
)


def text(path: Path) -> str:
    """Return the blocking twin of an asynchronous module."""
    if path.name == "__init__.py":
        return INIT
    found = path.read_text()
    found = found.replace("import asyncio\n", "" if "import time\n" in found else "import time\n")
    for word, other in WORDS:
        found = re.sub(word, other, found)
    for arguments in (FIX, ["format"]):
        place = f"--stdin-filename={TARGET / path.name}"
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", place, "-"]
        found = subprocess.run(command, input=found, capture_output=True, text=True, check=True, cwd=FOLDER).stdout
    return HEADER + found


if __name__ == "__main__":
    for module in sorted(SOURCE.glob("*.py")):
        (TARGET / module.name).write_text(text(module))
