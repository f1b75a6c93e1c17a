"""Checkpoint files as downloads. Their paths come from the database, never from a request."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response

from service.api import schemas
from service.store.errors import NotFound
from service.store.tables import TrialCheckpoint

MODEL = "model.safetensors"


def shown(checkpoint: TrialCheckpoint | None, which: str) -> schemas.CheckpointView | None:
    """Return a checkpoint's document for clients, or None for None; ``which`` names it in the download's path."""
    if checkpoint is None:
        return None
    return schemas.CheckpointView(
        step=checkpoint.step,
        path=checkpoint.path,
        objective=checkpoint.objective,
        at=checkpoint.at,
        download=f"/v1/trials/{checkpoint.trial_id}/checkpoint?which={which}&download=1",
    )


def model_of(checkpoint: TrialCheckpoint | None, trial_id: str, which: str) -> Response:
    """Return a checkpoint's model as a safetensors file to download.

    Raises:
        NotFound: ``checkpoint`` is None, or this server cannot read its folder. The message names ``trial_id`` and
            ``which``, that is ``best`` or ``last``.
    """
    if checkpoint is None:
        raise NotFound(f"{which} checkpoint of trial", trial_id, " yet")
    path = Path(checkpoint.path)
    path = path / MODEL if path.is_dir() else path
    if not path.is_file() or path.suffix != ".safetensors":
        where = f" that this server can read: it is at {checkpoint.path}; fetch it on a machine that can read this path"
        raise NotFound(f"{which} checkpoint of trial", trial_id, where)
    name = f"{trial_id}-step-{checkpoint.step}.safetensors"
    return FileResponse(path, media_type="application/octet-stream", filename=name)
