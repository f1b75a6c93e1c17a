"""Parameters in the layouts of other libraries: GeoTorch, torch_householder and LAPACK.

Only torch is needed. The formulas of GeoTorch 0.4.0 (Lezcano-Casado 2019) and torch_householder 1.0.1 (Obukhov 2021)
are written out here, and the tests compare them with the libraries themselves.
"""

from spectral.compat.geotorch import from_geotorch, to_geotorch
from spectral.compat.geotorch_module import replace_geotorch
from spectral.compat.householder import from_householder, from_lapack, to_householder, to_lapack

__all__ = [
    "from_geotorch",
    "from_householder",
    "from_lapack",
    "replace_geotorch",
    "to_geotorch",
    "to_householder",
    "to_lapack",
]
