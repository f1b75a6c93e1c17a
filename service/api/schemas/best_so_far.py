"""How the best objective of sweeps got better."""

from __future__ import annotations

from service.api.schemas.document import Document


class BestSoFarOfSweep(Document):
    """How the best objective of one sweep got better."""

    id: str
    """The sweep's id."""
    points: list[tuple[int, float]]
    """Pairs of a number of trials and the best objective of so many, in the order of the trials' numbers; at most 24.
    Empty until a trial has a result."""


class BestSoFarPage(Document):
    """How the best objectives of several sweeps got better."""

    sweeps: list[BestSoFarOfSweep]
    """The sweeps, in the order in which they were asked for."""
