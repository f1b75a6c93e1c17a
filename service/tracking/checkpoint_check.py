"""Whether the files of a checkpoint can be logged: there, readable, and as they were written."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

MANIFEST = "manifest.json"
CHECKPOINT_FILES = (MANIFEST, "model.safetensors")
"""The files of a checkpoint that are logged with its model; that of the optimiser's state is left out."""


def problem_of(folder: Path) -> str | None:
    """Return why the model of a checkpoint cannot be logged, for a person to read; None if it can.

    Args:
        folder: The checkpoint's folder.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        for name in CHECKPOINT_FILES[1:]:
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != manifest["files"][name]["sha256"]:
                return f"{folder / name} was altered after it was written: its checksum is not the one in {MANIFEST}"
    except FileNotFoundError as error:
        return (
            f"there is no {error.filename}: it was removed, or the controller's machine does not see it, and then the "
            "checkpoint store has to be mounted there at the same path as on the workers (SPECTRAL_CHECKPOINT_DIR)"
        )
    except OSError as error:
        return f"{error.filename or folder} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{folder / MANIFEST} was altered after it was written: it is not the manifest of a checkpoint"
    return None
