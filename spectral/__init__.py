"""Numerics of Spectral-RNNs: a transition held as Householder reflectors and singular values near one.

Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via Efficient SVD Parameterization", ICML 2018.
"""

from spectral.packed import PackedLinear, stack_trials
from spectral.recurrence import BACKENDS, Activation, recurrence
from spectral.rnn import Slot, SpectralRNN
from spectral.transition import Transition

__all__ = [
    "BACKENDS",
    "Activation",
    "PackedLinear",
    "Slot",
    "SpectralRNN",
    "Transition",
    "recurrence",
    "stack_trials",
]
