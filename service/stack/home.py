"""The folder of a stack: what is kept over restarts, and a lock so that only one stack uses it at a time."""

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
    """The folder of a stack.

    Its content::

        spectral.db           sweeps, trials, events
        checkpoints/          by sweep and trial
        mlflow/               MLflow's database and artifacts
        logs/                 one file for each process; that of the start before is NAME.log.1
        ray.token             the secret that this stack's processes share with its Ray
        lock                  who runs here
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
        """The folder of Ray's own files. Its path is short, because a socket's path may have at most 107 bytes."""
        short = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]
        return short / f"spectral-ray-{os.getuid()}-{digest}"

    def claim(self, holder: dict[str, Any]) -> None:
        """Lock the folder until ``release`` or the end of this process.

        Args:
            holder: What the error of another stack shows about this one: its ``url``.

        Raises:
            HomeBusy: Another stack runs in the folder.
            HomeUnusable: The folder cannot be created or written to.
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
        """Create the folders and the secret, rename the logs of the start before, and remove what its Ray left."""
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
        """Remove Ray's files and unlock the folder."""
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
