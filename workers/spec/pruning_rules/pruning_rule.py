"""The contract between a pruning rule and the rest of the system.

A pruning rule says which running trials of a sweep end now, because they do worse than others or than a bound. It is a
pure function of its options and of what the trials have reported: a controller that is killed and started again
decides as the last one did. It never sees a trial's network, its point, or the time.

Values are compared as ``workers.spec.ranking`` says. Here they are merits, of which the greater is better.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from typing import Any, ClassVar

from pydantic import Field, FiniteFloat

from workers.errors import FieldError
from workers.spec.base_spec import SpecPart
from workers.spec.trial import Objective

Curve = list[tuple[int, float]]
"""One metric of a trial as (step, value) pairs in order of step."""


class EarlyStoppingOptions(SpecPart):
    """The options of all pruning rules. ``GET /v1/early-stopping`` says which rule has which."""

    kind: str = "none"
    min_steps: int | None = Field(
        default=None, ge=1, description="steps before which no trial is ended; default: an eighth of its steps"
    )
    reduction: int | None = Field(
        default=None,
        ge=2,
        le=100,
        description="asha, hyperband: one trial in this many continues beyond each rung; default 3",
    )
    brackets: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="hyperband: number of groups, each with its first rung later than that of the group before; "
        "default: one more than there are rungs, so that the last group ends no trial",
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="patience: a trial ends after this many reports in a row without an improvement; default 5",
    )
    min_delta: FiniteFloat | None = Field(
        default=None,
        ge=0,
        description="patience: by how much the objective must become better for an improvement; default 0: by any "
        "amount",
    )
    threshold: FiniteFloat | None = Field(
        default=None, description="threshold: a trial ends at a report whose objective is worse than this; required"
    )


class PruningRule(ABC):
    """Decide which trials of a sweep end early, for the trials that have one number of steps.

    Args:
        options: The options of the sweep's early stopping. Those that are None have the rule's own defaults.
        objective: The metric, and whether a small or a large value is better.
        steps: The number of steps of the trials that are judged, at least 1.
    """

    summary: ClassVar[str]
    """What the rule does, in one sentence that the API shows."""
    options: ClassVar[tuple[str, ...]]
    """The options that the rule has; the others are refused with it."""
    required: ClassVar[tuple[str, ...]] = ()
    """The options among them that have no default."""

    def __init__(self, options: EarlyStoppingOptions, objective: Objective, steps: int) -> None:
        self.objective, self.steps = objective, steps
        self.min_steps = options.min_steps or max(1, steps // 8)

    @abstractmethod
    def to_prune(self, curves: Mapping[int, Curve], running: Set[int]) -> dict[int, str]:
        """Return why each trial that has to end now ends, by the trial's number.

        A trial that has done all of its steps is never among them, and one that is not running neither.

        Args:
            curves: The objective that each trial of the sweep has reported, by the trial's number. Trials without a
                report are left out; those that have ended are among them.
            running: The trials that may be ended. The others only serve for comparison.
        """

    def useless(self, interval: int) -> FieldError | None:
        """Return why the rule can end none of the trials that report every ``interval`` steps; None if it can."""
        if interval >= self.steps:
            problem = f"needs reports before the last step: trials report every {interval:,} of {self.steps:,} steps"
            allowed = "a smaller training.report_every, or early_stopping.kind none"
            return FieldError("training.report_every", interval, problem, allowed)
        latest = (self.steps - 1) // interval * interval
        if self.min_steps > latest:
            problem = f"is after the last report at which a trial of {self.steps:,} steps could be ended"
            allowed = f"at most {latest:,}, the last multiple of the {interval:,} steps between reports below its end"
            return FieldError("early_stopping.min_steps", self.min_steps, problem, allowed)
        return None

    def merit(self, value: float) -> float:
        """Return how good a value of the objective is: the greater the better, -inf if it is not finite."""
        return self.objective.merit(value)

    def shown(self, merit: float) -> str:
        """Return a merit as the value of the objective that it stands for."""
        if merit == -math.inf:
            return "that is not finite"
        return f"{merit if self.objective.direction == 'maximize' else -merit:.6g}"

    def finished(self, curve: Curve) -> bool:
        """Return whether a trial has reported after all of its steps."""
        return curve[-1][0] >= self.steps

    @classmethod
    def json_schema(cls, kind: str) -> dict[str, Any]:
        """Return what ``early_stopping`` may be for this rule as a JSON schema; ``kind`` is the rule's name."""
        whole = EarlyStoppingOptions.model_json_schema()["properties"]
        properties = {"kind": {"const": kind}} | {name: whole[name] for name in cls.options}
        for name in cls.required:
            shown = {key: value for key, value in whole[name].items() if key not in ("anyOf", "default")}
            properties[name] = shown | whole[name]["anyOf"][0]
        required = ["kind", *cls.required]
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
