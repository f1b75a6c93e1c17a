"""Make folders and files that no other user of this machine can read or change, and check that they are such."""

from __future__ import annotations

import os
import stat
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
UMASK = 0o077
"""The mask with which every process of a stack creates files: nothing is left to the group and to others."""
OPEN_TO_OTHERS = 0o077
"""The bits of a mode that let the group or others in."""


class NotPrivate(OSError):
    """A folder or file cannot be kept from the other users of this machine; ``strerror`` says why."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(None, why, str(path))

    def __str__(self) -> str:
        """Return the path and the reason."""
        return f"{self.filename} {self.strerror}"


def create_folder(path: Path) -> None:
    """Create a folder for this user alone, or close an existing one of this user to all others.

    What is below an existing folder is not changed: nobody else can reach it any more.

    Raises:
        NotPrivate: It belongs to another user, is no folder, or its file system does not keep its permissions.
        OSError: It cannot be created.
    """
    path.mkdir(mode=FOLDER_MODE, exist_ok=True)
    _close(path, FOLDER_MODE)


def open_for_update(path: Path, flags: int = os.O_RDWR) -> int:
    """Open a file of this user alone, which is created if it is missing, and return its descriptor.

    Raises:
        NotPrivate: It belongs to another user, is a link, or its file system does not keep its permissions.
        OSError: It cannot be created or opened.
    """
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        _close(path, FILE_MODE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def close_to_others(folder: Path) -> None:
    """Take the rights of the group and of others from what lies directly in a folder. Links are left as they are.

    Raises:
        NotPrivate: One of them belongs to another user, or the file system does not keep permissions.
        OSError: The folder cannot be listed, or a mode cannot be changed.
    """
    for entry in os.scandir(folder):
        if not entry.is_symlink() and entry.stat().st_mode & OPEN_TO_OTHERS:
            _close(Path(entry.path), stat.S_IMODE(entry.stat().st_mode) & ~OPEN_TO_OTHERS)


def _close(path: Path, mode: int) -> None:
    """Give a path a mode without rights of others, and check that it has it and is this user's."""
    found = path.lstat()
    if found.st_uid != os.geteuid():
        raise NotPrivate(path, f"belongs to another user (id {found.st_uid})")
    if stat.S_ISLNK(found.st_mode):
        raise NotPrivate(path, "is a link")
    if found.st_mode & OPEN_TO_OTHERS:
        path.chmod(mode)
        if path.lstat().st_mode & OPEN_TO_OTHERS:
            raise NotPrivate(path, "is open to other users, and its file system does not let that be changed")
