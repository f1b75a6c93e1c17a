"""The log of a failure: the last lines of its traceback, short, and without the folders of the machine."""

from __future__ import annotations

import re
import traceback

MAX_LINES, MAX_CHARACTERS = 40, 4_000
"""How much of a log is kept. The end is kept, because the error is there."""
_FOLDERS = re.compile(r"(?<![\w/.:])/(?:[^\s/:'\",)]+/)+(?=[^\s/:'\",)])")
_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*@")


def failure_log(error: BaseException) -> str:
    """Return the last lines of an exception's traceback, as ``shortened`` does it."""
    return shortened("".join(traceback.format_exception(error)))


def shortened(text: str) -> str:
    """Return the last lines of a log, at most ``MAX_LINES`` and ``MAX_CHARACTERS``.

    What people who read a log need not know is taken out of it (``without_folders``).
    """
    lines = without_folders(text).strip().splitlines()[-MAX_LINES:]
    kept = "\n".join(lines)
    return kept if len(kept) <= MAX_CHARACTERS else "..." + kept[-MAX_CHARACTERS + 3 :]


def without_folders(text: str) -> str:
    """Return a text in which ``.../`` stands for the folders of paths, and addresses have no users and passwords."""
    return _CREDENTIALS.sub("", _FOLDERS.sub(".../", text))
