"""What a sweep can choose from: tasks, samplers and pruning rules."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from service.schemas.document import Document


class TaskView(Document):
    """A task that a sweep can train on."""

    name: str
    """The value of ``task.name`` in a sweep."""
    summary: str
    """What is to be learned."""
    metrics: dict[str, Literal["minimize", "maximize"]]
    """The metrics that trials of this task report, each with the direction in which it gets better."""
    json_schema: dict[str, Any] = Field(repr=False)
    """The task's fields as a JSON schema."""


class SamplerView(Document):
    """A way to draw trials from a search space."""

    name: str
    """The value of ``search.sampler`` in a sweep."""
    summary: str
    """Which trials it draws."""
    use_when: str
    """When to choose it."""
    takes_trials: bool
    """Whether ``search.trials`` is required; if not, it is refused."""
    max_trials: int
    """The largest number of trials."""
    learns: bool
    """Whether its points depend on the results of earlier trials, so that trials are created while the sweep runs."""
    options: dict[str, Any] = Field(repr=False)
    """The fields of ``search.options`` as a JSON schema, with their defaults."""


class PruningRuleView(Document):
    """A rule that ends trials early."""

    name: str
    """The value of ``early_stopping.kind`` in a sweep."""
    summary: str
    """Which trials it ends."""
    json_schema: dict[str, Any] = Field(repr=False)
    """What ``early_stopping`` may be with this rule, as a JSON schema."""
