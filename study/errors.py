"""Why a study does not run, each with what to do."""

from __future__ import annotations


class StudyError(RuntimeError):
    """Of all below."""


class NoSuchExperiment(StudyError):
    """A name that no experiment has."""


class DocumentWrong(StudyError):
    """A sweep of examples/paper that cannot be run as it stands."""


class DataNotThere(StudyError):
    """Files that a sweep trains on cannot be read."""


class RecordWrong(StudyError):
    """A file of records that does not hold what it should."""


class SweepEnded(StudyError):
    """A sweep that somebody ended before its trials were done."""
