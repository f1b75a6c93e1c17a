"""Load the network of a trained trial from its checkpoint."""

from __future__ import annotations

from pathlib import Path

from workers.checkpoints import read
from workers.models.factory import initial_network
from workers.models.sequence_model import SequenceModel


def load(checkpoint: str | Path) -> SequenceModel:
    """Return the network saved in a checkpoint, on the CPU and in eval mode.

    Only safetensors and JSON are read, never a pickle. The optimiser's file may be missing: ``manifest.json`` and
    ``model.safetensors`` are enough to pass a model on.

    Args:
        checkpoint: The folder of one checkpoint, for example ``.../step-000000600``.

    Returns:
        The network. Its inputs have shape (B, T, input_size) and the dtype of the trial's parameters, or are token ids
        of shape (B, T).

    Raises:
        CheckpointInvalid: The checkpoint is incomplete or was altered.
    """
    found = read(Path(checkpoint), model_only=True)
    model = initial_network(found.manifest.spec)
    model.load_state_dict(found.model)
    return model.eval()
