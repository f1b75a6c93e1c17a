"""The recurrence h_t = phi(z_t + W h_{t-1}) over time; see README.md in this folder."""

from spectral.recurrence.activation import Activation
from spectral.recurrence.backends import BACKENDS
from spectral.recurrence.choice import choose
from spectral.recurrence.dispatch import dense_recurrence, last_state, layer, recurrence

__all__ = ["BACKENDS", "Activation", "choose", "dense_recurrence", "last_state", "layer", "recurrence"]
