"""Checks of the constructor arguments that the recurrent modules share with torch's, by torch's rules."""

import numbers
import warnings
from typing import Any

from spectral.errors import ArgumentTypeError, OptionError, RangeError


def check_arguments(
    input_size: Any, hidden_size: Any, num_layers: Any, bias: Any, batch_first: Any, dropout: Any, bidirectional: Any
) -> None:
    """Raise unless each argument has the type and the range that ``torch.nn.RNN``, ``LSTM`` and ``GRU`` ask for.

    Warns, as they do, if ``dropout`` is given for one layer, where it has no effect. The warning names the line that
    called the constructor of SpectralRNN, SpectralLSTM or SpectralGRU, which lies four calls above.

    Raises:
        ArgumentTypeError: If a size is not an int, or a flag is not a bool.
        RangeError: If a size is below 1, or if ``dropout`` is not a number in [0, 1].
    """
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, size in sizes.items():
        check_int(name, size)
        if size < 1:
            raise RangeError(f"{name} must be at least 1; found {size}")
    for name, flag in (("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)):
        if not isinstance(flag, bool):
            raise ArgumentTypeError(f"{name} must be True or False; found {flag!r}, of type {type(flag).__name__}")
    if isinstance(dropout, bool) or not isinstance(dropout, numbers.Real) or not 0 <= float(dropout) <= 1:
        raise RangeError(f"dropout, the probability of dropout between layers, must lie in [0, 1]; found {dropout!r}")
    if float(dropout) > 0 and num_layers == 1:
        warnings.warn(
            f"dropout is applied between layers, so with num_layers=1 it has no effect; found dropout={dropout}. "
            "Use more layers, or leave dropout out",
            stacklevel=5,
        )


def check_proj_size(proj_size: Any, hidden_size: int, *, allowed: bool) -> None:
    """Raise unless ``proj_size`` is an int that the module can have.

    Args:
        proj_size: The argument; 0 is no projection.
        hidden_size: n, of which ``proj_size`` must be smaller.
        allowed: Whether the module has projections, as LSTM alone does.

    Raises:
        ArgumentTypeError: If it is not an int.
        OptionError: If it is not 0 and the module has no projections.
        RangeError: If it does not lie in [0, hidden_size).
    """
    check_int("proj_size", proj_size, ". As in torch, proj_size comes before device; pass device and dtype by name")
    if proj_size and not allowed:
        raise OptionError(f"proj_size is for LSTM alone, as in torch; here it must be 0, and {proj_size} was given")
    if not 0 <= proj_size < hidden_size:
        raise RangeError(
            f"proj_size must be 0, for no projection, or from 1 to hidden_size - 1 = {hidden_size - 1}; "
            f"found {proj_size}"
        )


def check_int(name: str, value: Any, advice: str = "") -> None:
    """Raise ArgumentTypeError, with ``advice`` at the end of its message, unless ``value`` is an int and no bool."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"{name} must be an int; found {value!r}, of type {type(value).__name__}{advice}")
