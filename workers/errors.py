"""The exceptions that the workers raise, and ``FieldError``, which describes one wrong field of a sweep."""

from __future__ import annotations

import errno
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a sweep, or one whose value is allowed but unwise; it is data and not an exception.

    Attributes:
        field: The dotted path of the field in the document, for example ``space.model.reflectors.values.2``.
            ``(document)`` is the document as a whole.
        given: The value in the document, as parsed JSON; a long one as the text of its JSON, cut. None if the field
            is missing. For the field ``space`` the number of its points, and for an unknown dimension of the space its
            path.
        problem: What is wrong with the value.
        allowed: The values that are accepted, or another way to mend the sweep.
    """

    field: str
    given: Any
    problem: str
    allowed: str

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes by name, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        given = json.dumps(self.given, ensure_ascii=False, default=str)
        return f"{self.field}: {self.problem} (given: {given}; allowed: {self.allowed})"


class SpecError(ValueError):
    """The sweep cannot run as requested.

    Attributes:
        errors: The wrong fields, but not always all of them: at most 20, and of trials that cannot be trained only the
            first one's.
    """

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__("\n".join(str(error) for error in errors))


class DataMissing(FileNotFoundError):
    """The data of a task cannot be used: a file is missing and could not be downloaded, or is damaged or too short.

    ``DataWrong``, for a file whose content is wrong, is a subclass.

    Attributes:
        file: Name of the file as the task gives it; empty if it gives none.
    """

    def __init__(self, message: str, file: str = "") -> None:
        self.file = file
        super().__init__(message)


class CheckpointInvalid(RuntimeError):
    """A checkpoint is not loaded: it is incomplete, altered, of another format version, or of another trial."""


class CheckpointForeign(CheckpointInvalid):
    """A checkpoint is whole, and it is another trial's, or another release's with which this trial cannot go on."""


class TooManyReports(ValueError):
    """The metrics of a trial do not fit into a checkpoint; the user has to ask for fewer reports."""


class OtherSweep(ValueError):
    """The directory for a sweep's results already holds the results of another sweep."""


class NoPlainForm(ValueError):
    """A trained network cannot be written with the modules of torch alone, or not in the format that was asked for."""


class NoGpu(RuntimeError):
    """A GPU was requested, but torch finds none that it can use on this node."""


OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "cudaerrormemoryallocation")
"""What errors for lack of memory say, in small letters: those of torch, of the system, of cuBLAS and cuDNN, of CUDA."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory was short: that of the machine, or that of a GPU, also for cuBLAS or cuDNN."""
    text = str(error).lower()
    short = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return short or any(said in text for said in OUT_OF_MEMORY)


STORE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG, errno.ENXIO})
"""Codes of the errors of a file store that is full, read-only, failing or gone, whatever is done with it."""


def store_problem(error: BaseException) -> str | None:
    """Return in words what is wrong with a file store if an error comes from one that is full, read-only or failing.

    Exceptions that were raised because of such an error count too. None is returned for any other error.
    """
    seen: BaseException | None = error
    for _ in range(10):  # a chain of causes may be a circle
        if isinstance(seen, OSError) and seen.errno in STORE_ERRORS:
            return str(seen.strerror or seen)
        if seen is None:
            break
        seen = seen.__cause__ or seen.__context__
    return None


class SamplerError(RuntimeError):
    """A sampler fails or breaks its contract: its point is not in the space, or it never proposes its next trial."""


class NoValidPoint(SamplerError):
    """No point was found that satisfies the constraints of the space.

    Attributes:
        constraint: The text of the constraint that most of the points break.
    """

    def __init__(self, message: str, constraint: str) -> None:
        self.constraint = constraint
        super().__init__(message)
