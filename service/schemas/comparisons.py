"""Lists of points, and how points compare with each other."""

from __future__ import annotations

from service.schemas.document import Document
from service.schemas.points import PointView
from service.schemas.sweeps import ObjectiveView
from workers.spec.point_results import Verdict
from workers.spec.repeats import Statistic


class PointPage(Document):
    """One page of a sweep's points, the best first."""

    objective: ObjectiveView
    """The metric by which trials are compared, and its direction."""
    statistic: Statistic
    """What the objective of a point is, of those of its trials."""
    points: list[PointView]
    """The points of this page."""
    next_cursor: str | None
    """The ``cursor`` of the next page; null if this page is not full. The page after a full last page is empty."""


class ComparisonView(Document):
    """Two points compared by their trials of equal seeds."""

    first: int
    """The number of the first point."""
    second: int
    """The number of the second point."""
    verdict: Verdict
    """Whether the first point is better or worse than the second, by their means; or that these results do not tell
    them apart."""
    n: int
    """How many seeds have a result at both points."""
    difference: float | None
    """The mean of the differences, first minus second; null without such a seed."""
    sd: float | None
    """The standard deviation of the differences; null for fewer than two."""
    interval: tuple[float, float] | None
    """The interval of the mean difference by Student's t. The two are not told apart if it holds 0."""
    reason: str | None
    """Why there is no interval; null if there is one."""


class PointComparison(Document):
    """Several points of a sweep, each compared with each other."""

    objective: ObjectiveView
    """The metric by which trials are compared, and its direction."""
    confidence: float
    """The probability that all intervals together hold the true differences, if these are distributed normally. With
    k comparisons each interval is one of 1 - 0.05 / k (Bonferroni)."""
    points: list[PointView]
    """The points, as they were asked for."""
    comparisons: list[ComparisonView]
    """Each of them against each of those after it."""
