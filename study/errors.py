"""The errors for which the study stops; ``python -m study`` prints their messages."""

from __future__ import annotations


class StudyError(RuntimeError):
    """The base class of all errors of the study."""


class NoSuchExperiment(StudyError):
    """``--only`` names an experiment that does not exist."""


class DocumentWrong(StudyError):
    """A file under examples/paper cannot be read, is not a JSON object, or is not a valid sweep."""


class DataUnavailable(StudyError):
    """Files that the task of a sweep needs are missing from the data directory."""


class RecordWrong(StudyError):
    """A record file is not a record of this study, or is one whose sweep is not valid in this version."""


class SweepEnded(StudyError):
    """Somebody cancelled or stopped a sweep of the study before its trials were done."""
