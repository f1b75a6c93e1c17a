"""The networks: single ones for users (``build``, ``load``), and packs of many for the trainer (``pack``)."""

from workers.models.factory import build, initial_network
from workers.models.loading import load, trained_network
from workers.models.pack_factory import pack
from workers.models.packed_model import PackedModel, stack, unstack_trial
from workers.models.sequence_model import SequenceModel

__all__ = [
    "PackedModel",
    "SequenceModel",
    "build",
    "initial_network",
    "load",
    "pack",
    "stack",
    "trained_network",
    "unstack_trial",
]
