"""The networks: single ones for users (``build``, ``load``), and packs of many for the trainer (``pack``)."""

from workers.models.factory import build, start_of
from workers.models.loading import load
from workers.models.pack_factory import pack
from workers.models.packed_model import PackedModel, stack, take
from workers.models.sequence_model import SequenceModel

__all__ = ["PackedModel", "SequenceModel", "build", "load", "pack", "stack", "start_of", "take"]
