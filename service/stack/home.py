"""The folder in which a stack keeps its files over restarts, with a lock so that only one stack uses it at a time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from typing import Any

from service.stack.errors import HomeBusy, HomeUnusable


class Home:
    """Names, prepares and locks the folder of a stack. Constructing it touches no file.

    The content of the folder::

        spectral.db           the SQLite database with sweeps, trials and events
        checkpoints/          a folder for each sweep, and in it one for each trial
        mlflow/               MLflow's database and artifacts
        logs/                 NAME.log for each process; its log of the start before is NAME.log.1
        ray.token             the secret by which this stack's processes are admitted to its Ray
        lock                  process id and address of the stack that runs here, or that ran last

    Args:
        path: The folder; ``~`` and relative paths are resolved.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        self.database = self.path / "spectral.db"
        self.checkpoints = self.path / "checkpoints"
        self.mlflow = self.path / "mlflow"
        self.logs = self.path / "logs"
        self.token = self.path / "ray.token"
        self._lock: int | None = None

    @property
    def ray(self) -> Path:
        """The folder of Ray's own files, outside the home and the same for every start.

        Its path is short, because a socket's path may have at most 107 bytes.
        """
        short = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]
        return short / f"spectral-ray-{os.getuid()}-{digest}"

    def claim(self, holder: dict[str, Any]) -> None:
        """Create the folder if needed, and lock it until ``release`` or the end of this process.

        Args:
            holder: This stack's address, as ``{"url": ...}``. The error of another stack that finds the folder locked
                shows it.

        Raises:
            HomeBusy: Another stack has locked the folder.
            HomeUnusable: The folder cannot be created, or its lock file cannot be opened for writing.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise HomeUnusable(self.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = os.pread(descriptor, 4096, 0).decode(errors="replace")
            os.close(descriptor)
            raise HomeBusy(self.path, _shown(found)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), **holder}).encode(), 0)
        self._lock = descriptor

    def prepare(self) -> None:
        """Create the subfolders, an empty folder for Ray and, if it is missing, the secret.

        The logs of the start before are renamed to ``NAME.log.1``, replacing older ones.

        Raises:
            OSError: A file or folder cannot be created.
        """
        for folder in (self.checkpoints, self.mlflow / "artifacts", self.logs):
            folder.mkdir(parents=True, exist_ok=True)
        for log in self.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        shutil.rmtree(self.ray, ignore_errors=True)
        self.ray.mkdir(mode=0o700)
        if not self.token.exists():
            descriptor = os.open(self.token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))

    def release(self) -> None:
        """Remove Ray's own files, and unlock the folder if this object has locked it."""
        shutil.rmtree(self.ray, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _shown(found: str) -> str:
    try:
        holder = json.loads(found)
        return f"process {holder['pid']} ({holder['url']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
