"""The errors that the workers raise.

A mistake in a sweep names the field, what was given and what is allowed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a sweep.

    Attributes:
        field: The dotted path of the field in the document, for example ``space.model.reflectors.values.2``.
        given: The value in the document, as parsed JSON; None if the field is missing.
        problem: What is wrong with the value.
        allowed: The values that are accepted, and so what to do.
    """

    field: str
    given: Any
    problem: str
    allowed: str

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.field}: {self.problem} (given: {self.given!r}; allowed: {self.allowed})"


class SpecError(ValueError):
    """The sweep cannot run as requested; ``errors`` has one entry for every wrong field."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))


class DataMissing(FileNotFoundError):
    """The files of a task are not in the data directory and could not be downloaded."""


class CheckpointInvalid(RuntimeError):
    """A checkpoint is incomplete, has been altered, or belongs to another trial, and so is not loaded."""


class OtherSweep(ValueError):
    """The directory for a sweep's results already holds the results of another sweep."""


class NoGpu(RuntimeError):
    """A GPU was requested, but torch finds none that it can use on this node."""
