"""Mistakes in what a user asked for, each naming the field, what was given and what is allowed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a sweep.

    field: dotted path in the document, e.g. ``space.model.reflectors.values.2``.
    given: what stood there (as JSON), None where the field is missing.
    problem: what is wrong with it, in a sentence.
    allowed: what may stand there, and so what to do.
    """

    field: str
    given: Any
    problem: str
    allowed: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.field}: {self.problem} (given: {self.given!r}; allowed: {self.allowed})"


class SpecError(ValueError):
    """A sweep that cannot run as asked; ``errors`` names every wrong field."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))


class DataMissing(FileNotFoundError):
    """A task's data is not in the data directory and could not be fetched."""


class CheckpointInvalid(RuntimeError):
    """A checkpoint that is torn, altered or of another trial; it is never loaded."""


class OtherSweep(ValueError):
    """A directory that holds another sweep's results than the one to be run in it."""


class NoGpu(RuntimeError):
    """The node has no GPU that torch can use, and one was asked for."""
