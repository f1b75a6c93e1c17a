"""A trained trial's network from its checkpoint."""

from __future__ import annotations

from pathlib import Path

from workers.checkpoints import read
from workers.models.factory import start_of
from workers.models.sequence_model import SequenceModel


def load(checkpoint: str | Path) -> SequenceModel:
    """The network saved in a checkpoint folder (``.../step-000000600``), on the CPU in eval mode.

    Takes (B, T, input_size) in the dtype of the trial's parameters, or token ids (B, T). Reads safetensors and JSON,
    never a pickle. The optimiser's file may be missing: a folder with ``manifest.json`` and ``model.safetensors`` alone
    is a model that can be handed on.
    Raises CheckpointInvalid where the folder is no whole checkpoint.
    """
    found = read(Path(checkpoint), model_only=True)
    model = start_of(found.manifest.spec)
    model.load_state_dict(found.model)
    return model.eval()
