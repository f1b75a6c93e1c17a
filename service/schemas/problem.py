"""Refusals and warnings."""

from __future__ import annotations

from typing import Any

from service.schemas.document import Document


class Problem(Document):
    """What went wrong with a call, as a problem document (RFC 9457)."""

    class Field(Document):
        """One field of the request that was refused."""

        field: str
        """The field's path in the document, such as ``model.reflectors``, or ``(document)``, or a parameter's name."""
        given: Any
        """The value that was sent, possibly cut short; null if the field is missing."""
        problem: str
        """What is wrong with the value, as a phrase that follows the field's name."""
        allowed: str
        """What to send instead."""

    type: str
    """A URN that names the kind of problem."""
    title: str
    """The kind of problem in words. It is the same for every problem of this kind."""
    status: int
    """The HTTP status code."""
    detail: str
    """What went wrong in this call."""
    errors: list[Field]
    """The fields that were refused; empty if the problem lies elsewhere."""


class Advice(Problem.Field):
    """A warning about a value that is accepted, but likely to train badly, or more than any node of the cluster has.

    Or about data or results that are hard to trust; ``field`` is then the field that names the data, or a metric.
    ``allowed`` is the advice.
    """
