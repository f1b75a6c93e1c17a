"""The last words of a runner's process: what it wrote to its standard error, as far as this machine has the file."""

from __future__ import annotations

from pathlib import Path

from workers.runtime.failure_log import shortened

READ_BYTES = 16_000
"""How much of the end of a file is read."""


def last_words(logs: Path, pid: int) -> str:
    """Return the last lines that a runner's process wrote to its standard error.

    Nothing is returned if there are none, or if the process ran on another machine, which keeps its file.

    Args:
        logs: The folder of Ray's log files on this machine.
        pid: The id of the process. If several had it, the last one counts.
    """
    try:
        files = sorted(logs.glob(f"worker-*-{pid}.err"), key=lambda path: path.stat().st_mtime)
        if not files:
            return ""
        with files[-1].open("rb") as file:
            file.seek(max(0, files[-1].stat().st_size - READ_BYTES))
            return shortened(file.read().decode(errors="replace"))
    except OSError:
        return ""
