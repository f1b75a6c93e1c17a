"""The log of one process: appended to by the process itself, kept short by the supervisor, quoted in error messages."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

from service.stack.private_files import open_for_update

MOST_BYTES = 10_000_000
"""A log that is longer is moved to ``NAME.log.1``, in place of the older one, and begun anew."""
QUOTED_BYTES = 20_000
"""How much of a log's end is read to quote from it."""


def append_to(path: Path) -> BinaryIO:
    """Open a log for appending; it is created for this user alone. The caller closes it."""
    return os.fdopen(open_for_update(path, os.O_WRONLY | os.O_APPEND), "ab")


def keep_short(path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Copy a log that is longer than ``most_bytes`` to ``NAME.log.1``, and empty it.

    It is not renamed, because the process goes on writing to the file that it has open; as it appends, it goes on at
    the new end. What it writes between the copy and the emptying is lost.

    Raises:
        OSError: The log cannot be read, copied or emptied. Without room for the copy it is emptied all the same.
    """
    if not path.exists() or path.stat().st_size <= most_bytes:
        return
    try:
        with path.open("rb") as full, os.fdopen(_emptied(path.with_suffix(".log.1")), "wb") as copy:
            shutil.copyfileobj(full, copy)
    finally:
        os.truncate(path, 0)


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log, read from its last ``QUOTED_BYTES``; none if there is no log."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - QUOTED_BYTES))
        return file.read().decode(errors="replace").splitlines()[-count:]


def _emptied(path: Path) -> int:
    return open_for_update(path, os.O_WRONLY | os.O_TRUNC)
