"""The folder in which a stack keeps its files over restarts, with a lock so that only one stack uses it at a time.

Nobody but its user can reach anything in it, nor Ray's files, which lie outside it.
"""

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

from service.stack.errors import HomeBusy, HomeOpen, HomeUnusable
from service.stack.private_files import OPEN_TO_OTHERS, NotPrivate, close_to_others, create_folder, open_for_update


class Home:
    """Names, prepares and locks the folder of a stack. Constructing it touches no file.

    The content of the folder::

        spectral.db           the SQLite database with sweeps, trials and events
        checkpoints/          a folder for each sweep, and in it one for each trial
        mlflow/               MLflow's database and artifacts
        logs/                 NAME.log for each process; its log of the start before is NAME.log.1
        ray.token             the secret by which this stack's processes are admitted to its Ray
        admin.token           a token for the API with all rights, made at the first start with ``--auth tokens``
        lock                  process id and address of the stack that runs here, or that ran last

    The folder has mode 0700; homes that earlier releases made, or that somebody opened, are closed by ``claim``.

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
        self.admin_token = self.path / "admin.token"
        self._lock: int | None = None

    @property
    def ray(self) -> Path:
        """The folder of Ray's own files, outside the home and the same for every start.

        Its path is short, because a socket's path may have at most 107 bytes. Ray opens it to everybody, so it lies in
        a folder that only this user can enter.
        """
        return self._around_ray / "r"

    @property
    def _around_ray(self) -> Path:
        short = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:8]
        return short / f"spectral-ray-{os.getuid()}-{digest}"

    def claim(self, holder: dict[str, Any]) -> None:
        """Create the folder if needed, close it to others, and lock it until ``release`` or the end of this process.

        Args:
            holder: This stack's address, as ``{"url": ...}``. The error of another stack that finds the folder locked
                shows it.

        Raises:
            HomeBusy: Another stack has locked the folder.
            HomeOpen: Others can read the folder, and that is not to be changed, or cannot be.
            HomeUnusable: The folder cannot be created, or its lock file cannot be opened for writing.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._is_shared():
                raise HomeOpen(self.path, "is open to other users and holds other things than a service's data")
            create_folder(self.path)
            descriptor = open_for_update(self.path / "lock")
        except NotPrivate as error:
            raise HomeOpen(Path(error.filename), str(error.strerror)) from error
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
        """Create the subfolders, an empty folder for Ray and, if it is missing, the secret. The home must be claimed.

        The logs of the start before are renamed to ``NAME.log.1``, replacing older ones.

        Raises:
            HomeOpen: A file or folder belongs to another user, or cannot be closed to others.
            HomeUnusable: A file or folder cannot be created.
        """
        try:
            self._prepare_files()
        except NotPrivate as error:
            raise HomeOpen(Path(error.filename), str(error.strerror)) from error
        except OSError as error:
            raise HomeUnusable(Path(error.filename or self.path), error) from error

    def _prepare_files(self) -> None:
        if self.token.exists() and self.token.stat().st_mode & OPEN_TO_OTHERS:
            self.token.unlink()  # others may have read it
        close_to_others(self.path)
        for folder in (self.checkpoints, self.mlflow, self.mlflow / "artifacts", self.logs):
            create_folder(folder)
        for log in self.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))
        shutil.rmtree(self._around_ray, ignore_errors=True)
        create_folder(self._around_ray)  # refused if it is another user's
        shutil.rmtree(self.ray, ignore_errors=True)
        self.ray.mkdir()
        with os.fdopen(open_for_update(self.token), "r+") as file:
            if not file.read().strip():
                file.write(secrets.token_hex(32))

    def release(self) -> None:
        """Remove Ray's own files and unlock the folder, if this object has locked it; else do nothing."""
        if self._lock is not None:
            shutil.rmtree(self._around_ray, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def _is_shared(self) -> bool:
        """Return whether the folder is open to others and was not made for a stack, such as ``/tmp``: it stays open."""
        if not self.path.is_dir() or not self.path.stat().st_mode & OPEN_TO_OTHERS:
            return False
        return any(self.path.iterdir()) and not (self.database.exists() or self.token.exists())


def _shown(found: str) -> str:
    try:
        holder = json.loads(found)
        return f"process {holder['pid']} ({holder['url']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
