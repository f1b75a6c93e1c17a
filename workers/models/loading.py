"""Load the network of a trained trial from its checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from workers.checkpoints import read
from workers.models.factory import initial_network
from workers.models.packed_model import Tensors
from workers.models.sequence_model import SequenceModel
from workers.spec.trial import TrialSpec


def load(checkpoint: str | Path) -> SequenceModel:
    """Return the network saved in a checkpoint, on the CPU and in eval mode.

    Only safetensors and JSON are read, never a pickle. The optimiser's file may be missing: ``manifest.json`` and
    ``model.safetensors`` are enough to pass a model on.

    Args:
        checkpoint: The folder of one checkpoint, for example ``.../step-000000600``.

    Returns:
        The network. Its inputs have shape (B, T, input_size) and the dtype of the trial's parameters, or are token ids
        of shape (B, T). If sequences are padded, give it their ``lengths`` too; without them it reads the padding.

    Raises:
        CheckpointInvalid: The checkpoint is incomplete or was altered.
    """
    found = read(Path(checkpoint), model_only=True)
    return trained_network(found.manifest.spec, found.model)


def trained_network(trial: TrialSpec, tensors: Tensors) -> SequenceModel:
    """Return the network of a trial with the parameters of one of its checkpoints, on the CPU and in eval mode."""
    model = initial_network(trial)
    _set_vocabulary(model, tensors)
    model.load_state_dict(tensors)
    return model.eval()


def _set_vocabulary(model: SequenceModel, tensors: Tensors) -> None:
    """Give a network as many tokens as its checkpoint has.

    They are more than its task has if an earlier release wrote the checkpoint: the vocabulary of ``ptb_word`` trained
    on the valid file then had words that occur in the validation part alone.
    """
    table = model.embedding
    if table is None or len(tensors["embedding.weight"]) == table.num_embeddings:
        return
    (tokens, size), (outputs, width) = tensors["embedding.weight"].shape, tensors["head.weight"].shape
    model.embedding = nn.Embedding(tokens, size, dtype=table.weight.dtype)
    model.head = nn.Linear(width, outputs, dtype=table.weight.dtype)
