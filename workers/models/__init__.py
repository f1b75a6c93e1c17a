"""Networks: one as users get it (``build``, ``load``), many at once as the trainer runs them (``pack``)."""

from workers.models.loading import load
from workers.models.packed import PackedModel, pack, stack, take
from workers.models.sequence_model import SequenceModel, build, start_of

__all__ = ["PackedModel", "SequenceModel", "build", "load", "pack", "stack", "start_of", "take"]
