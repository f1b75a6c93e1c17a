"""How two trials compare, step by step."""

from __future__ import annotations

from typing import Any

from service.schemas.document import Document
from workers.spec.report_comparison import Likeness


class MetricLikenessView(Document):
    """How one metric of two trials compares."""

    name: str
    """The metric."""
    likeness: Likeness
    """The same bits at all steps, the same up to rounding, or different."""
    steps: int
    """At how many steps both trials have it."""
    largest: float
    """The largest relative difference, |a - b| / max(|a|, |b|)."""
    largest_step: int | None
    """The first step with that difference; null if there is none."""
    first_step: int | None
    """The first step at which the two differ at all; null if there is none."""


class SettingDifference(Document):
    """A setting in which two trials differ."""

    field: str
    """The path of the field, such as ``training.lr``."""
    first: Any
    """The value of the first trial."""
    second: Any
    """The value of the second trial."""


class TrialLikeness(Document):
    """Two trials compared at the steps that both have reported."""

    first: str
    """The id of the first trial."""
    second: str
    """The id of the second trial."""
    likeness: Likeness
    """``equal`` if all metrics have the same bits, ``equal to rounding``, ``different``, or ``nothing in common`` if
    they have no report of the same step. Metrics that are times or speeds do not count."""
    rounding: float
    """The largest relative difference that counts as rounding: half of the digits of the number format agree."""
    steps: int
    """How many steps both have reported."""
    only_first: int
    """How many steps the first alone has reported."""
    only_second: int
    """How many steps the second alone has reported."""
    metrics: list[MetricLikenessView]
    """Each metric that both have, by name."""
    settings: list[SettingDifference]
    """The settings in which they differ; none for a trial and its replay."""
    explanations: list[str]
    """What may explain a difference, in words; empty if there is none."""
