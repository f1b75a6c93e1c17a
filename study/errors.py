"""Reasons why a study cannot run; each message says what to do."""

from __future__ import annotations


class StudyError(RuntimeError):
    """The base class of all errors of the study."""


class NoSuchExperiment(StudyError):
    """No experiment has the given name."""


class DocumentWrong(StudyError):
    """A sweep of examples/paper is not valid."""


class DataUnavailable(StudyError):
    """Files that a sweep trains on cannot be read."""


class RecordWrong(StudyError):
    """A record file does not contain a record of this study."""


class SweepEnded(StudyError):
    """Somebody ended a sweep before its trials were done."""
