"""Old names of arguments, kept for one release with a DeprecationWarning."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def renamed_keyword(old: str, new: str) -> Callable[[Function], Function]:
    """Decorate a function so that the keyword argument ``old`` still works as ``new``, with a DeprecationWarning.

    The decorated function raises TypeError if both are given.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                if new in kwargs:
                    raise TypeError(f"{old!r} is the old name of {new!r}; both are given. Pass {new!r} alone")
                message = f"the argument {old!r} is now named {new!r}; the old name goes with the next release"
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call  # type: ignore[return-value]

    return decorate
