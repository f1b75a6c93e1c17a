"""Which pack holds which networks: the one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from spectral import SpectralRNN
from workers.models.packed import PackedModel
from workers.models.sequence_model import SequenceModel
from workers.models.spectral_pack import SpectralPack
from workers.models.torch_pack import TorchPack

PACKS: dict[type[nn.Module], Callable[[Sequence[SequenceModel]], PackedModel]] = {
    SpectralRNN: SpectralPack,
    nn.RNN: TorchPack,
    nn.LSTM: TorchPack,
}


def pack(trials: Sequence[SequenceModel]) -> PackedModel:
    """The pack of separately built networks of one kind and shape; values are copied."""
    return PACKS[type(trials[0].recurrent)](trials)
