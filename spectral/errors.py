"""What can be wrong with what a caller gave. Each class names the mistake."""


class SpectralError(Exception):
    """Base of every error that this package raises on purpose."""


class ShapeError(SpectralError, ValueError):
    """A tensor has the wrong number of dimensions or the wrong size in one of them."""


class RangeError(SpectralError, ValueError):
    """A number lies outside the interval in which it means something."""


class ReflectorCountError(RangeError):
    """A number of reflectors that the matrix, or the chosen start, cannot have."""


class OptionError(SpectralError, ValueError):
    """A name that is not in the table of names: nonlinearity, backend, start or spectrum."""


class BandError(RangeError):
    """A singular value lies outside the band [sigma* - r, sigma* + r]."""


class PackError(SpectralError, ValueError):
    """Modules that cannot share a pack, or a pack used as if it were one trial."""


class ConversionError(SpectralError, ValueError):
    """The target of a conversion cannot express this module."""
