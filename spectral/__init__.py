"""Numerics of Spectral-RNNs: a transition held as Householder reflectors and singular values near one.

Part of spectral-rnn-service; this part alone needs torch and numpy alone.

Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via Efficient SVD Parameterization",
ICML 2018.
"""

from spectral import compat
from spectral.cpu.threads import torch_on_one_thread
from spectral.errors import (
    ArgumentTypeError,
    BandError,
    ConversionError,
    MissingPackageError,
    OptionError,
    PackError,
    PretrainedError,
    RangeError,
    ReflectorCountError,
    ShapeError,
    SpectralError,
    StateMismatchError,
)
from spectral.gru import SpectralGRU
from spectral.householder import normalize_reflectors_
from spectral.init import rotation_angles
from spectral.linear import SpectralLinear
from spectral.lstm import SpectralLSTM
from spectral.pack import Slot
from spectral.packed_linear import PackedLinear, linear_of_trials
from spectral.parametrization import parametrize, spectral_svd
from spectral.pretrained import from_pretrained
from spectral.recurrence import BACKENDS, Activation, dense_recurrence, last_state, layer, recurrence
from spectral.rnn import SpectralRNN
from spectral.roles import ParameterRole, parameter_roles
from spectral.scan import ScannedStep
from spectral.singular_values import singular_map
from spectral.stacking import norms_of_trials, stack_trials
from spectral.svd import SVD
from spectral.transition import Transition

__all__ = [
    "BACKENDS",
    "SVD",
    "Activation",
    "ArgumentTypeError",
    "BandError",
    "ConversionError",
    "MissingPackageError",
    "OptionError",
    "PackError",
    "PackedLinear",
    "ParameterRole",
    "PretrainedError",
    "RangeError",
    "ReflectorCountError",
    "ScannedStep",
    "ShapeError",
    "Slot",
    "SpectralError",
    "SpectralGRU",
    "SpectralLSTM",
    "SpectralLinear",
    "SpectralRNN",
    "StateMismatchError",
    "Transition",
    "compat",
    "dense_recurrence",
    "from_pretrained",
    "last_state",
    "layer",
    "linear_of_trials",
    "normalize_reflectors_",
    "norms_of_trials",
    "parameter_roles",
    "parametrize",
    "recurrence",
    "rotation_angles",
    "singular_map",
    "spectral_svd",
    "stack_trials",
    "torch_on_one_thread",
]
