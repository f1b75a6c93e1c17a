"""The errors that this package raises on purpose. Each class names the caller's mistake."""


class SpectralError(Exception):
    """The base class of all errors of this package."""


class ShapeError(SpectralError, ValueError):
    """A tensor has the wrong number of dimensions, the wrong size in one of them, or the wrong dtype."""


class RangeError(SpectralError, ValueError):
    """A number lies outside the interval in which it is allowed."""


class ReflectorCountError(RangeError):
    """A number of reflectors is not possible for the matrix or for the chosen initialisation."""


class OptionError(SpectralError, ValueError):
    """An option has a value that is not in its table, or that cannot be used here."""


class BandError(RangeError):
    """A singular value lies outside the band [sigma* - r, sigma* + r]."""


class PackError(SpectralError, ValueError):
    """Modules cannot share a pack, or a pack is used as if it were a single trial."""


class ConversionError(SpectralError, ValueError):
    """The target of a conversion cannot express this module."""
