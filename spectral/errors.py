"""The errors that this package raises on purpose. Each class names the caller's mistake."""


class SpectralError(Exception):
    """The base class of all errors of this package."""


class ShapeError(SpectralError, ValueError, RuntimeError):
    """A tensor has the wrong number of dimensions, the wrong size in one of them, the wrong dtype or the wrong device.

    torch's modules raise ValueError for some of these and RuntimeError for others, so this is both.
    """


class ArgumentTypeError(SpectralError, TypeError):
    """An argument has the wrong type: for example a string where a flag or a size is expected."""


class RangeError(SpectralError, ValueError):
    """A number lies outside the interval in which it is allowed."""


class ReflectorCountError(RangeError):
    """A number of reflectors, or the shape of the matrix, does not allow what was asked for.

    Raised if a number of reflectors does not lie between 0 and the smaller side of the matrix, if the initialisation
    ``init`` needs other numbers of reflectors or a square matrix, or if a matrix that is to be set needs more
    reflectors than there are.
    """


class OptionError(SpectralError, ValueError):
    """An option has none of its allowed values, or has one that this device, dtype or activation does not allow."""


class BandError(RangeError):
    """A matrix that is to be set has a singular value that the chosen ``spectrum`` cannot represent.

    Allowed are [sigma - margin, sigma + margin] for ``sigmoid`` and ``clip``, and sigma alone for ``fixed``, each up to
    rounding.
    """


class PackError(SpectralError, ValueError):
    """Modules or tensors cannot be stacked into a pack, or a pack and a single trial are taken for each other."""


class ConversionError(SpectralError, ValueError):
    """A module cannot be converted as asked, because the result would lack an option that it has."""


class StateMismatchError(SpectralError, RuntimeError):
    """A state dict belongs to a module with another spectrum, margin, sigma or number of reflectors.

    ``load_state_dict`` raises it, with ``strict=False`` too, before it changes a parameter of the module concerned.
    """


class PretrainedError(SpectralError, ValueError):
    """A folder does not hold what ``save_pretrained`` writes, or holds a module of another class."""


class MissingPackageError(SpectralError, ImportError):
    """A package that is needed for what was called is not installed; the message says which, and how to install it."""
