"""Products of Householder reflectors; see README.md in this folder."""

from spectral.householder import reference, wy
from spectral.householder.wy import WY

__all__ = ["WY", "reference", "wy"]
