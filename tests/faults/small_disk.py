"""A disk of a few megabytes in memory, which can be filled or made read-only. Mounting one needs root."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

SIZE = "64m"
READ_ONLY_SECONDS = 10.0
"""How long a disk may take to become read-only: it cannot while a file on it is being written."""
BLOCK = 64 * 1024


class SmallDisk:
    """Mounts a disk at a new folder of an existing one. Use it as a context manager.

    Args:
        folder: Where the disk is mounted.

    Attributes:
        mounted: Whether this process may mount disks. If not, the folder is an ordinary one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / "filler"
        self.mounted = False

    def __enter__(self) -> SmallDisk:
        self._folder.mkdir(mode=0o700)
        self.mounted = _mount("-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(self._folder))
        return self

    def __exit__(self, *_: object) -> None:
        if self.mounted:
            self.mend()
            subprocess.run(["umount", "--lazy", str(self._folder)], check=True)

    def fill(self) -> None:
        """Leave no byte free."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (BLOCK, 1):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)

    def make_read_only(self) -> None:
        """Refuse writing, as a disk does that its system has found to be faulty."""
        end = time.monotonic() + READ_ONLY_SECONDS
        while not _mount("-o", "remount,ro", str(self._folder)):
            if time.monotonic() > end:
                raise TimeoutError(f"{self._folder} is always being written to")

    def mend(self) -> None:
        """Undo ``fill`` and ``make_read_only``."""
        _mount("-o", "remount,rw", str(self._folder))
        self._filler.unlink(missing_ok=True)


def _mount(*arguments: str) -> bool:
    if os.geteuid() != 0:
        return False
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
