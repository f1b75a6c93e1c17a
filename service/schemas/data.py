"""The data of a sweep."""

from __future__ import annotations

from service.schemas.document import Document
from workers.tasks.data_summary import DataSummary


class UnreadableData(Document):
    """A data set that the server cannot read."""

    source: str
    """The name of the file or data set."""
    problem: str
    """Why it cannot be read, and what to do."""


class SweepData(Document):
    """What the trials of a sweep read, as the server reads it now."""

    sweep_id: str
    """The sweep."""
    sets: list[DataSummary]
    """The data sets, the first 20 if the sweep has more."""
    unreadable: list[UnreadableData]
    """The data sets among them that the server cannot read."""
    count: int
    """The number of data sets of the sweep."""
