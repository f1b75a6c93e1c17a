"""The choice of a pack for a kind of network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from spectral import SpectralGRU, SpectralLSTM, SpectralRNN
from workers.models.deep_pack import DeepPack
from workers.models.exponential import ExponentialRNN
from workers.models.packed_model import PackedModel
from workers.models.recurrent import RecurrentModel
from workers.models.recurrent_packs import ExponentialPack, SpectralPack
from workers.models.sequence_model import SequenceModel
from workers.models.torch_pack import TorchPack

PACKS: dict[type[nn.Module], Callable[[Sequence[SequenceModel]], PackedModel]] = {
    SpectralRNN: SpectralPack,
    SpectralLSTM: SpectralPack,
    SpectralGRU: SpectralPack,
    ExponentialRNN: ExponentialPack,
    nn.RNN: TorchPack,
    nn.LSTM: TorchPack,
    nn.GRU: TorchPack,
}
"""The pack for each recurrent module. Networks that are not recurrent are packed by ``DeepPack``."""


def pack(trials: Sequence[SequenceModel]) -> PackedModel:
    """Return the pack of separately built networks of one kind and shape. Their values are copied.

    They may differ in their numbers of reflectors.

    Raises:
        TypeError: The networks are of different kinds.
    """
    first = trials[0]
    return PACKS[type(first.recurrent)](trials) if isinstance(first, RecurrentModel) else DeepPack(trials)
