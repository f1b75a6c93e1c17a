"""Checkpoint files as downloads. Their paths come from the database, never from a request."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import FileResponse, Response

from service import schemas
from service.api.problems import Refused
from service.store.errors import NotFound
from service.store.tables import TrialCheckpoint

MODEL = "model.safetensors"


def shown(checkpoint: TrialCheckpoint | None, which: str, whole: bool) -> schemas.CheckpointView | None:
    """Return a checkpoint's document for clients, or None for None.

    Args:
        checkpoint: The checkpoint.
        which: Its name in the download's path: ``best`` or ``last``.
        whole: Whether its whole path is shown, or only its place in the checkpoint store.
    """
    if checkpoint is None:
        return None
    problem = None if _model(checkpoint).is_file() else _problem(checkpoint, whole)
    return schemas.CheckpointView(
        step=checkpoint.step,
        path=_place(checkpoint, whole),
        objective=checkpoint.objective,
        at=checkpoint.at,
        download=f"/v1/trials/{checkpoint.trial_id}/checkpoint?which={which}&download=1",
        missing=problem,
    )


def model_of(checkpoint: TrialCheckpoint | None, trial_id: str, which: str, whole: bool) -> Response:
    """Return a checkpoint's model as a safetensors file to download; ``whole`` as for ``shown``.

    Raises:
        NotFound: ``checkpoint`` is None, or this server cannot read its folder. The message names ``trial_id`` and
            ``which``, that is ``best`` or ``last``.
        Refused: The checkpoint was removed from the checkpoint store, which this server sees; the status is 410.
    """
    if checkpoint is None:
        raise NotFound(f"{which} checkpoint of trial", trial_id, " yet")
    path = _model(checkpoint)
    if not path.is_file() or path.suffix != ".safetensors":
        problem = _problem(checkpoint, whole)
        if _is_removed(checkpoint):
            raise Refused(
                410, "Removed", f"the {which} checkpoint of trial {trial_id!r} is not there any more: {problem}"
            )
        raise NotFound(f"{which} checkpoint of trial", trial_id, f" that this server can read: {problem}")
    name = f"{trial_id}-step-{checkpoint.step}.safetensors"
    return FileResponse(path, media_type="application/octet-stream", filename=name)


def _model(checkpoint: TrialCheckpoint) -> Path:
    path = Path(checkpoint.path)
    return path / MODEL if path.is_dir() else path


def _is_removed(checkpoint: TrialCheckpoint) -> bool:
    """Return whether a checkpoint that this server cannot read was removed from the store (STORE/SWEEP/TRIAL/STEP).

    The controller has noticed it, or this server sees the store.
    """
    path = Path(checkpoint.path)
    if checkpoint.removed_at is not None:
        return True
    return path.is_absolute() and path.parent.name == checkpoint.trial_id and path.parents[2].is_dir()


def _place(checkpoint: TrialCheckpoint, whole: bool) -> str:
    """Return a checkpoint's path, or its place in the store: SWEEP/TRIAL/STEP."""
    return checkpoint.path if whole else "/".join(Path(checkpoint.path).parts[-3:])


def _problem(checkpoint: TrialCheckpoint, whole: bool) -> str:
    place = _place(checkpoint, whole)
    if _is_removed(checkpoint):
        return (
            f"{place} or a file in it was removed. If the trial had ended before, its run in MLflow has "
            "copies of its best and last checkpoints"
        )
    return (
        f"it is at {place}; fetch it on a machine that can read this path. If the checkpoint store was on "
        "this machine, it was removed or is not mounted"
    )
