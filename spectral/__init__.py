"""Numerics of Spectral-RNNs: a transition held as Householder reflectors and singular values near one.

Part of spectral-rnn-service; this part alone needs torch and numpy alone.

Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via Efficient SVD Parameterization",
ICML 2018.
"""

from spectral.gru import SpectralGRU
from spectral.linear import SpectralLinear
from spectral.lstm import SpectralLSTM
from spectral.pack import Slot
from spectral.packed import PackedLinear, stack_trials
from spectral.parametrization import parametrize
from spectral.recurrence import BACKENDS, Activation, recurrence
from spectral.rnn import SpectralRNN
from spectral.svd import SVD
from spectral.transition import Transition

__all__ = [
    "BACKENDS",
    "SVD",
    "Activation",
    "PackedLinear",
    "Slot",
    "SpectralGRU",
    "SpectralLSTM",
    "SpectralLinear",
    "SpectralRNN",
    "Transition",
    "parametrize",
    "recurrence",
    "stack_trials",
]
