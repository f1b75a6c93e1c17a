"""Products of Householder reflectors; see README.md in this folder."""

from spectral.householder import reference, wy
from spectral.householder.wy import WY, normalize_reflectors_

__all__ = ["WY", "normalize_reflectors_", "reference", "wy"]
