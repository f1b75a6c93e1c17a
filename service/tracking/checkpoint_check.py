"""Whether the files of a checkpoint can be logged: there, readable, and as they were written."""

from __future__ import annotations

from pathlib import Path

from workers.checkpoint_files import MANIFEST, MODEL, read_manifest, read_verified
from workers.errors import CheckpointInvalid

CHECKPOINT_FILES = (MANIFEST, MODEL)
"""The files of a checkpoint that are logged with its model; that of the optimiser's state is left out."""


def problem_of(folder: Path) -> str | None:
    """Return why the model of a checkpoint cannot be logged, for a person to read; None if it can.

    Args:
        folder: The checkpoint's folder.
    """
    for name in CHECKPOINT_FILES:
        if not (folder / name).is_file():
            return (
                f"there is no {folder / name}: it was removed, or the controller's machine does not see it, and then "
                "the checkpoint store has to be mounted there at the same path as on the workers "
                "(SPECTRAL_CHECKPOINT_DIR)"
            )
    try:
        read_verified(folder, read_manifest(folder), MODEL)
    except CheckpointInvalid as error:
        return str(error)
    return None
